"""The attention of the class token of one or several encoders.

Shape letters: N images, H heads, (h, w) token grid; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from amt_mm.saliency import entropies
from amt_mm.saliency.attention import vit_attention
from amt_mm.saliency.pixels import min_max

from .panels import draw_saliency, draw_table, scale_entry

LONG_SIDE = 224
SCALE = 'least to greatest attention of each picture'


@torch.no_grad()
def cls_attention_maps(vit: Any, inputs: Tensor) -> np.ndarray:
    """Return the class token's attention in the last block, (N, H, h, w).

    See :func:`amt_mm.saliency.attention.vit_attention`.
    """
    was_training = vit.training
    vit.eval()
    attention = vit_attention(vit, inputs)
    vit.train(was_training)
    return attention.float().cpu().numpy()


def draw_attention(images: Sequence[np.ndarray],
                   maps: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw a row an image: as it is, and under each of several maps.

    Images, of any sizes, and the result are (H, W, 3) uint8 RGB. The maps
    (N, h, w), at any scale, go by the caption of their column.
    """
    rows = []
    for number, image in enumerate(images):
        shown = _fit(image)
        rows.append([shown, *(draw_saliency(shown, min_max(own[number], 1e-12))
                              for own in maps.values())])
    return draw_table(['image', *maps], rows, [scale_entry(SCALE)])


def draw_heads(images: Sequence[np.ndarray],
               attention: np.ndarray) -> np.ndarray:
    """Draw a row an image: as it is, the mean of the heads, and each head.

    Args:
        images (Sequence[np.ndarray]): (H, W, 3) uint8 RGB, of any sizes.
        attention (np.ndarray): (N, H, h, w).
    """
    heads = {f'head {number}': attention[:, number]
             for number in range(attention.shape[1])}
    return draw_attention(images, {'mean': attention.mean(1), **heads})


def effective_num_patches(maps: np.ndarray) -> np.ndarray:
    """Return the effective number of patches of maps (N, h, w): (N,).

    That is e to the power of the entropy of the attention: 1 where all is on
    one patch, h w where it is the same on all.
    """
    return maps[0].size**entropies(maps)


def _fit(image: np.ndarray) -> np.ndarray:
    """Resize an image so that its long side is that of a column."""
    factor = LONG_SIDE / max(image.shape[:2])
    height, width = (max(1, round(factor * n)) for n in image.shape[:2])
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return cv2.resize(image, (width, height), interpolation=interpolation)
