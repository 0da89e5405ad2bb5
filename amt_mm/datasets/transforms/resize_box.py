"""Resize a part of an image, in the fastest way that each backend has."""

from __future__ import annotations

from math import ceil, floor

import mmcv
import numpy as np
import torch
from mmcv.image.geometric import pillow_interp_codes
from PIL import Image
from torch.nn.functional import interpolate

from amt_mm.saliency.geometry import Box

TORCH_MODES = ('bilinear', 'bicubic')


def check_resize(backend: str, interpolation: str) -> None:
    """Raise ValueError if torch cannot antialias an interpolation."""
    if backend == 'torch' and interpolation not in TORCH_MODES:
        raise ValueError(
            f'interpolation must be one of {list(TORCH_MODES)} with '
            f"backend='torch', got {interpolation!r}.")


def resize_box(image: np.ndarray, box: Box, size: tuple[int, int],
               interpolation: str, backend: str) -> np.ndarray:
    """Resize a part of an image to (h, w) as ``mmcv.imresize`` does.

    The box is in pixels. Where it ends within a pixel, Pillow takes that share
    of it, also in place of torch; ``'cv2'`` takes all of it.
    """
    left, top, right, bottom = box
    x, y = floor(left), floor(top)
    cut = image[y:ceil(bottom), x:ceil(right)]
    height, width = cut.shape[:2]
    inner = left - x, top - y, right - x, bottom - y
    width_height = size[1], size[0]
    if backend in ('pillow', 'torch') and inner != (0, 0, width, height):
        whole = Image.fromarray(np.ascontiguousarray(cut))
        return np.array(whole.resize(
            width_height, pillow_interp_codes[interpolation], inner))
    if backend == 'torch':
        return _resize_by_torch(cut, size, interpolation)
    if backend == 'pillow':
        # it copies rows that do not follow each other byte by byte
        cut = np.ascontiguousarray(cut)
    return mmcv.imresize(
        cut, width_height, interpolation=interpolation, backend=backend)


def _resize_by_torch(cut: np.ndarray, size: tuple[int, int],
                     interpolation: str) -> np.ndarray:
    # torch wants memory that it may write to
    pixels = torch.from_numpy(np.array(np.atleast_3d(cut)))
    resized = interpolate(
        pixels.permute(2, 0, 1)[None],
        tuple(size),
        mode=interpolation,
        antialias=True)
    return resized[0].permute(1, 2, 0).numpy().reshape(*size, *cut.shape[2:])
