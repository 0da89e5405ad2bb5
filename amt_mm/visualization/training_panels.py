"""Panels of training samples, and plans drawn from given maps.

Shape letters: N images, (h, w) token grid; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, default_collate
from torch import Tensor

from amt_mm.masking.plan import MaskPlan
from amt_mm.saliency.geometry import WHOLE
from amt_mm.saliency.pixels import min_max

from .panels import Panel, draw_table, draw_tiles, legend_entries


@torch.no_grad()
def training_panels(model: Any, dataset: BaseDataset,
                    indices: Sequence[int]) -> list[Panel]:
    """Draw samples through the train pipeline and reconstruct them.

    The model has ``saliency`` and, if it predicts pixels, ``reconstruct``; the
    pipeline is connected to a saliency store. A panel has the crop, P_A over
    it (the saliency of the crop itself before the first update), the plan, and
    the reconstruction where the model makes one.
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
    """Draw a number of plans (N, h, w) int8 of whole images.

    ``AMTMaskGenerator`` makes them of maps (N, h, w) in [0, 1], which take the
    place of its store; its schedules go by the 0-based epoch.
    """
    generator.store = SimpleNamespace(read=maps.__getitem__)
    return [
        np.stack([
            generator(dict(sample_idx=index, crop_box=WHOLE,
                           epoch=epoch))['mask_plan']
            for index in range(len(maps))]) for _ in range(number)]


def draw_plans(images: Sequence[np.ndarray], maps: np.ndarray,
               plans: Sequence[np.ndarray],
               pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Draw a row an image: image, saliency, then each plan and what came out.

    The N images are (H, W, 3), their maps (N, h, w) in [0, 1], and the plans
    as :func:`sample_plans` gives them. ``pictures`` are the N reconstructions
    for each plan, or none where the model makes none.
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
