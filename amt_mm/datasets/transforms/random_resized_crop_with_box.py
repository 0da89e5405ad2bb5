"""RandomResizedCrop that remembers where it cropped."""

from __future__ import annotations

from math import ceil, floor

import mmcv
import numpy as np
from mmcv.image.geometric import pillow_interp_codes
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image

from amt_mm.registry import TRANSFORMS
from amt_mm.saliency.geometry import WHOLE, Box, compose, flip_box

# (top, left, height, width) in pixels, as upstream draws it
Crop = tuple[int, int, int, int]


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

    def transform(self, results: dict) -> dict:
        """Crop and resize ``img``, and add ``crop_box``."""
        img = results['img']
        return self.show(results, self.rand_crop_params(img), img.shape[:2])

    def show(self, results: dict, crop: Crop, shape: tuple[int, int],
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

    def whole(self) -> WholeImage:
        """Return what shows the whole image at the size of the crops."""
        return WholeImage(
            self.scale, interpolation=self.interpolation, backend=self.backend)


class WholeImage(RandomResizedCropWithBox):
    """The crop that is the whole image, at any random numbers."""

    def rand_crop_params(self, img: np.ndarray) -> Crop:
        """Take all of an image."""
        return 0, 0, *img.shape[:2]


def resize_box(image: np.ndarray, box: Box, size: tuple[int, int],
               interpolation: str, backend: str) -> np.ndarray:
    """Resize a part of an image to (h, w) as ``mmcv.imresize`` does.

    The box is in pixels and may end within one; ``'cv2'`` then takes all of
    that pixel.
    """
    left, top, right, bottom = box
    x, y = floor(left), floor(top)
    cut = image[y:ceil(bottom), x:ceil(right)]
    if backend == 'pillow':
        # Pillow copies rows that do not follow each other byte by byte
        cut = np.ascontiguousarray(cut)
    inner = left - x, top - y, right - x, bottom - y
    width_height = size[1], size[0]
    if backend != 'pillow' or inner == (0, 0, cut.shape[1], cut.shape[0]):
        return mmcv.imresize(
            cut, width_height, interpolation=interpolation, backend=backend)
    return np.array(
        Image.fromarray(cut).resize(
            width_height, pillow_interp_codes[interpolation], inner))
