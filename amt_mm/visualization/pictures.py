"""Pictures of what a model looks at, what is masked, and what it makes of it.

Shape letters: N images, H heads, (h, w) token grid; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset, default_collate
from torch import Tensor

from amt_mm.masking.plan import MaskPlan
from amt_mm.saliency import entropies
from amt_mm.saliency.attention import vit_attention
from amt_mm.saliency.geometry import WHOLE
from amt_mm.saliency.pixels import min_max

from .panels import (
    Panel,
    draw_saliency,
    draw_table,
    draw_tiles,
    legend_entries,
    scale_entry,
)

LONG_SIDE = 224
SCALE = 'least to greatest attention of each picture'


@torch.no_grad()
def cls_attention_maps(vit: Any, inputs: Tensor) -> np.ndarray:
    """Return the class token's attention in the last block, (N, H, h, w)."""
    was_training = vit.training
    vit.eval()
    attention = vit_attention(vit, inputs)
    vit.train(was_training)
    return attention.float().cpu().numpy()


def draw_attention(images: Sequence[np.ndarray],
                   maps: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw a row an image: as it is, and under maps (N, h, w) by caption."""
    rows = []
    for number, image in enumerate(images):
        factor = LONG_SIDE / max(image.shape[:2])
        height, width = (max(1, round(factor * n)) for n in image.shape[:2])
        shown = cv2.resize(image, (width, height), interpolation=(
            cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST))
        rows.append([shown, *(draw_saliency(shown, min_max(own[number], 1e-12))
                              for own in maps.values())])
    return draw_table(['image', *maps], rows, [scale_entry(SCALE)])


def draw_heads(images: Sequence[np.ndarray],
               attention: np.ndarray) -> np.ndarray:
    """Draw a row an image: as it is, the mean of heads (N, H, h, w), each."""
    heads = {f'head {number}': attention[:, number]
             for number in range(attention.shape[1])}
    return draw_attention(images, {'mean': attention.mean(1), **heads})


def effective_num_patches(maps: np.ndarray) -> np.ndarray:
    """Return e to the power of the entropy (N,) of maps (N, h, w)."""
    return maps[0].size**entropies(maps)


@torch.no_grad()
def training_panels(model: Any, dataset: BaseDataset,
                    indices: Sequence[int]) -> list[Panel]:
    """Draw samples through the train pipeline and reconstruct them.

    Before the first update, a panel shows the saliency of the crop itself.
    """
    samples = [dataset[i] for i in indices]
    data = model.data_preprocessor(default_collate(samples))
    inputs, data_samples = data['inputs'], data['data_samples']
    was_training = model.training
    model.eval()
    plan = MaskPlan.from_data_samples(data_samples, inputs.device)
    pictures: Sequence[np.ndarray | None] = [None] * len(inputs)
    if hasattr(model, 'reconstruct'):
        pictures = to_pixels(model, model.reconstruct(inputs, plan))
    fallback = model.saliency(inputs).float().cpu().numpy()
    model.train(was_training)
    return [
        Panel(image, min_max(sample.get('saliency', own), 1e-12),
              sample.mask_plan, picture)
        for image, sample, own, picture in zip(
            to_pixels(model, inputs), data_samples, fallback, pictures,
            strict=True)
    ]


def to_pixels(model: Any, inputs: Tensor) -> list[np.ndarray]:
    """Undo the normalisation: (B, C, H, W) -> B times (H, W, 3) uint8 RGB."""
    preprocessor = model.data_preprocessor
    pixels = inputs.float() * preprocessor.std + preprocessor.mean
    if hasattr(preprocessor, 'bands'):
        pixels = pixels[:, preprocessor.bands] * (255 / preprocessor.white)
    elif not preprocessor._channel_conversion:  # then the inputs are BGR still
        pixels = pixels.flip(1)
    pixels = pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return list(pixels.cpu().numpy())


def sample_plans(generator: Any, maps: np.ndarray, number: int,
                 epoch: int) -> list[np.ndarray]:
    """Draw plans (N, h, w) by a mask generator from maps (N, h, w)."""
    generator.store = SimpleNamespace(read=maps.__getitem__)
    return [
        np.stack([
            generator(dict(sample_idx=index, crop_box=WHOLE,
                           epoch=epoch))['mask_plan']
            for index in range(len(maps))]) for _ in range(number)]


def draw_plans(images: Sequence[np.ndarray], maps: np.ndarray,
               plans: Sequence[np.ndarray],
               pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Draw a row an image: it, its saliency, each plan and what came out.

    ``pictures`` are the N reconstructions by each plan, or empty.
    """
    captions = ['image', 'saliency']
    rows: list[list[np.ndarray]] = [[] for _ in images]
    panels = []
    for draw, own in enumerate(plans):
        captions.append(f'plan {draw + 1}')
        if pictures:
            captions.append(f'reconstruction {draw + 1}')
        for row, image in enumerate(images):
            made = pictures[draw][row] if pictures else None
            panels.append(Panel(image, maps[row], own[row], made))
            tiles = draw_tiles(panels[-1])
            rows[row] += tiles[2:] if rows[row] else tiles
    return draw_table(captions, rows, legend_entries(panels))
