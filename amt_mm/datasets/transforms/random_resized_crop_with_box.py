"""RandomResizedCrop that remembers where it cropped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import mmcv
import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop

from amt_mm.arguments import (
    Check,
    check_all,
    check_choice,
    check_int,
    check_range,
    check_sides,
)
from amt_mm.registry import TRANSFORMS
from amt_mm.saliency.geometry import WHOLE, compose, flip_box

# of one pixel, a flipped array cannot become a tensor
MIN_SIDE = 2
CHECKS: dict[str, Check] = dict(
    crop_ratio_range=partial(check_range, bounds='(0, inf)'),
    aspect_ratio_range=partial(check_range, bounds='(0, inf)'),
    max_attempts=partial(check_int, low=0, high=1000),
    interpolation=partial(check_choice, choices=(
        'nearest', 'bilinear', 'bicubic', 'area', 'lanczos')),
    backend=partial(check_choice, choices=('cv2', 'pillow')))


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
    """

    def __init__(self, scale: int | Sequence[int], *args: Any,
                 **kwargs: Any) -> None:
        check_all(CHECKS, kwargs)
        size = check_sides('scale', scale, MIN_SIDE)
        super().__init__(size, *args, **kwargs)

    def transform(self, results: dict) -> dict:
        """Crop and resize ``img``, and add ``crop_box``."""
        img = results['img']
        height, width = img.shape[:2]
        top, left, crop_height, crop_width = self.rand_crop_params(img)
        bottom, right = top + crop_height, left + crop_width
        # imcrop takes the last pixel of the box as inside
        img = mmcv.imcrop(img, np.array([left, top, right - 1, bottom - 1]))
        results['img'] = mmcv.imresize(
            # Pillow copies rows that do not follow each other byte by byte
            np.ascontiguousarray(img),
            tuple(self.scale[::-1]),
            interpolation=self.interpolation,
            backend=self.backend)
        results['img_shape'] = results['img'].shape
        box = (left / width, top / height, right / width, bottom / height)
        # a flip that came first moved the pixels, not the saliency map
        box = flip_box(box, results.get('flip_direction'))
        results['crop_box'] = compose(results.get('crop_box', WHOLE), box)
        return results
