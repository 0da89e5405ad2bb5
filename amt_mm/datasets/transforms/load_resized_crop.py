"""Load a random crop of an image, at no higher resolution than needed."""

from __future__ import annotations

import copy
from math import ceil
from typing import Any, NamedTuple

import cv2
import numpy as np

from amt_mm.arguments import check_dict
from amt_mm.registry import TRANSFORMS

from .load_image import Header, LoadImage, Tag
from .random_resized_crop_with_box import Crop, RandomResizedCropWithBox

# libjpeg's other scales, M/8, take as long as the whole or longer
FLAGS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


class Drawn(NamedTuple):
    """A crop, the (H, W) that it was drawn in, and what was decoded of it."""

    crop: Crop
    shape: tuple[int, int]
    reduction: int


@TRANSFORMS.register_module()
class LoadResizedCrop(LoadImage):
    """``LoadImage`` and ``RandomResizedCropWithBox`` in one, for less time.

    The crop is drawn from the header, with the same random numbers and to the
    same box. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, the
    smallest at which the crop still has the height and the width of the
    output, so the pixels differ a little from those of the whole image. Where
    the crop is too small for it, or the file no JPEG, they are the same.

    It takes effect with ``color_type='color'`` and
    ``imdecode_backend='cv2'``, which are the defaults, and without
    ``keep_all``, which decodes whole images once, for all crops to come, and
    ``nodata``, which is looked for in whole images.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img, img_shape
    - ori_shape (tuple[int]): (H, W) of the whole image, not reduced.
    - crop_box (tuple[float]): (left, top, right, bottom) in [0, 1].

    Args:
        crop (dict): Arguments of :class:`RandomResizedCropWithBox`.
        **kwargs: Those of :class:`LoadImage`.

    Raises:
        UnreadableImageError: If the file cannot be opened or decoded.
    """

    def __init__(self, crop: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.crop = RandomResizedCropWithBox(**check_dict('crop', crop))

    def transform(self, results: dict) -> dict | None:
        """Load the crop of ``img_path`` into ``img`` (h, w, 3) BGR."""
        loaded = super().transform(results)
        if loaded is None:
            return None
        drawn: Drawn | None = loaded.pop('drawn', None)
        if drawn is None:
            return self.crop(loaded)
        loaded['ori_shape'] = drawn.shape
        return self.crop.apply_crop(loaded, *drawn)

    def uncropped(self) -> LoadResizedCrop:
        """Return a transform that loads whole images at the crops' size."""
        twin = copy.copy(self)
        twin.crop = self.crop.uncropped()
        return twin

    def _decode(self, content: bytes, header: Header,
                results: dict) -> np.ndarray:
        """Draw the crop, and decode no finer than it needs."""
        shape, divided = self._shape(header)
        if shape:
            crop = self.crop.rand_crop_params(np.broadcast_to(0, shape))
            reduction = reduction_for(crop, self.crop.scale, divided)
            image = self._pixels(content, FLAGS[reduction], 'cv2')
            # else the decoder saw another orientation: the crop is redrawn
            if image.shape[:2] == tuple(ceil(n / reduction) for n in shape):
                results['drawn'] = Drawn(crop, shape, reduction)
                return image
        return super()._decode(content, header, results)

    def _shape(self, header: Header) -> tuple[Any, tuple[int, ...]]:
        """Return (H, W) of a JPEG that may be reduced, and what divides it."""
        how = self.color_type, self.imdecode_backend
        kind, width, height, image = header
        if (self.keep_all or self.nodata is not None
                or how != ('color', 'cv2') or kind != 'JPEG'
                or min(width, height) < 2 * min(self.crop.scale)):
            return None, ()
        try:
            orientation = image.getexif().get(Tag.Orientation, 1)
        except Exception:  # Pillow's reader of tags has many
            return None, ()
        if orientation not in range(1, 9):
            return None, ()
        shape = (width, height) if orientation >= 5 else (height, width)
        return shape, shape if orientation > 1 else ()


def reduction_for(crop: Crop, size: tuple[int, int],
                  divided: tuple[int, ...] = ()) -> int:
    """Return by how much a crop may shrink and have the pixels of a size."""
    # it divides the sides of an image that is turned after its reduction: a
    # part of a pixel would come first
    fits = min(side // wanted
               for side, wanted in zip(crop[2:], size, strict=True))
    return next(r for r in FLAGS
                if r <= max(fits, 1) and not any(n % r for n in divided))
