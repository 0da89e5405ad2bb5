"""Resize a part of an image, in the fastest way that each backend has."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

import mmcv
import numpy as np
import torch
from mmcv.image.geometric import pillow_interp_codes
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image
from torch.nn.functional import interpolate

from amt_mm.arguments import check_sides
from amt_mm.registry import TRANSFORMS
from amt_mm.saliency.geometry import WHOLE, Box, compose, flip_box

TORCH_MODES = ('bilinear', 'bicubic')
# of one pixel, a flipped array cannot become a tensor
MIN_SIDE = 2
# (top, left, height, width) in pixels, as upstream draws it
Crop = tuple[int, int, int, int]


def resize_box(image: np.ndarray, box: Box, size: tuple[int, int],
               interpolation: str, backend: str) -> np.ndarray:
    """Resize a box in pixels to (h, w) as ``mmcv.imresize`` does."""
    # of a pixel that it cuts Pillow takes the share, OpenCV all
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
        # torch wants memory that it may write to
        pixels = torch.from_numpy(np.array(np.atleast_3d(cut)))
        resized = interpolate(pixels.permute(2, 0, 1)[None], tuple(size),
                              mode=interpolation, antialias=True)[0]
        return resized.permute(1, 2, 0).numpy().reshape(
            *size, *cut.shape[2:])
    if backend == 'pillow':
        # it copies rows that do not follow each other byte by byte
        cut = np.ascontiguousarray(cut)
    return mmcv.imresize(
        cut, width_height, interpolation=interpolation, backend=backend)


@TRANSFORMS.register_module()
class RandomResizedCropWithBox(RandomResizedCrop):
    """Crop as mmpretrain's ``RandomResizedCrop`` and record the box.

    The same crops come out of the same random numbers. The box is in shares
    of the original image, whatever was cropped or flipped before.

    **Required Keys:**

    - img
    - crop_box (optional)
    - flip_direction (optional)

    **Modified Keys:**

    - img
    - img_shape

    **Added Keys:**

    - crop_box (tuple[float]): (left, top, right, bottom) in [0, 1].

    Args:
        scale (sequence | int): Output size (h, w), or one int for a square.
        **kwargs: Those of :class:`mmpretrain.datasets.RandomResizedCrop`.
            ``backend`` may also be ``'torch'``: ``'bilinear'`` or
            ``'bicubic'`` with antialiasing as Pillow has it, in a third of
            the time on CPUs with AVX2; few pixels differ, and by little.

    Raises:
        ValueError: If the backend has no such interpolation.
    """

    def __init__(self, scale: int | Sequence[int], *args: Any,
                 **kwargs: Any) -> None:
        size = check_sides('scale', scale, MIN_SIDE)
        super().__init__(size, *args, **kwargs)
        if self.backend == 'torch' and self.interpolation not in TORCH_MODES:
            raise ValueError(
                f'interpolation must be one of {list(TORCH_MODES)} with '
                f"backend='torch', got {self.interpolation!r}.")

    def transform(self, results: dict) -> dict:
        """Crop and resize ``img``, and add ``crop_box``."""
        img = results['img']
        return self.apply_crop(results, self.rand_crop_params(img),
                               img.shape[:2])

    def apply_crop(self, results: dict, crop: Crop, shape: tuple[int, int],
                   reduction: int = 1) -> dict:
        """Cut a crop of an image of a shape, both before its reduction."""
        (height, width), (top, left, crop_height, crop_width) = shape, crop
        bottom, right = top + crop_height, left + crop_width
        results['img'] = resize_box(
            results['img'],
            (left / reduction, top / reduction, right / reduction,
             bottom / reduction), self.scale, self.interpolation,
            self.backend)
        results['img_shape'] = results['img'].shape
        box = (left / width, top / height, right / width, bottom / height)
        # a flip that came first moved the pixels, not the saliency map
        box = flip_box(box, results.get('flip_direction'))
        results['crop_box'] = compose(results.get('crop_box', WHOLE), box)
        return results

    def uncropped(self) -> FullImage:
        """Return a transform that resizes whole images to the crops' size."""
        return FullImage(
            self.scale, interpolation=self.interpolation, backend=self.backend)


class FullImage(RandomResizedCropWithBox):
    """Resize the whole image; no random number is drawn."""

    def rand_crop_params(self, img: np.ndarray) -> Crop:
        """Return the whole image as the crop."""
        return 0, 0, *img.shape[:2]
