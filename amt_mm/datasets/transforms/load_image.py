"""Load an image, or say which file cannot be read."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmcv.image.io import imread_flags, supported_backends
from mmcv.transforms import LoadImageFromFile

from amt_mm.arguments import (
    Check,
    check_all,
    check_bool,
    check_choice,
    check_dict,
    optional,
)
from amt_mm.registry import TRANSFORMS

CHECKS: dict[str, Check] = dict(
    to_float32=check_bool,
    color_type=partial(check_choice, choices=imread_flags),
    imdecode_backend=partial(check_choice, choices=supported_backends),
    ignore_empty=check_bool,
    backend_args=optional(check_dict))


class UnreadableImageError(ValueError):
    """An image file is missing, empty or no image; the message names it."""


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load as mmcv's ``LoadImageFromFile``, with the path in every error.

    JPEG (also CMYK), PNG (also palette, alpha, 16 bit) and WebP come out as
    3-channel uint8, turned as their EXIF orientation says.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img, img_shape, ori_shape

    Args:
        **kwargs: Those of :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        UnreadableImageError: If the file cannot be opened or decoded.
    """

    def __init__(self, **kwargs: Any) -> None:
        check_all(CHECKS, kwargs)
        super().__init__(**kwargs)
        # OpenCV does not turn WebP as its EXIF orientation says
        self.webp = LoadImageFromFile(**{
            **kwargs, 'imdecode_backend': 'pillow'
        })

    def transform(self, results: dict) -> dict | None:
        """Load ``img_path`` into ``img`` (H, W, 3) BGR."""
        is_webp = str(results['img_path']).lower().endswith('.webp')
        try:
            return self.webp(results) if is_webp else super().transform(
                results)
        except Exception as error:  # each decoder has errors of its own
            raise UnreadableImageError(
                f'cannot read the image {results["img_path"]}: '
                f'{error!r}') from error
