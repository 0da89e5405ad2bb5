"""Pixels (H, W) that hold no data: which, and what takes their place."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

# an image (H, W, C) or (H, W), and (H, W) bool: which of its pixels hold data,
# None if all do
Loaded = tuple[np.ndarray, np.ndarray | None]


def fill_missing(image: np.ndarray, data_mask: np.ndarray | None) -> Loaded:
    """Give pixels without data the mean of the others, in each channel."""
    # so a filter that reaches over the border of the data finds no outlier
    if data_mask is None or data_mask.all():
        return image, None
    if data_mask.shape != image.shape[:2]:
        raise ValueError(f'the mask of data has shape {data_mask.shape}, the '
                         f'image {image.shape[:2]}')
    if not data_mask.any():
        raise ValueError(f'none of its {data_mask.size:,} pixels holds data')
    mean = image[data_mask].mean(0, dtype=np.float64)
    filled = image.copy()  # it may be kept for the next sample
    filled[~data_mask] = mean if image.dtype.kind == 'f' else np.round(mean)
    return filled, data_mask


def opaque_pixels(content: bytes) -> np.ndarray | None:
    """Return where (H, W) alpha is above 0, turned by EXIF; None without."""
    with Image.open(io.BytesIO(content)) as picture:
        # RGBA, LA, PA, of premultiplied colours too, or one colour is named
        if picture.mode[-1] not in 'Aa' and 'transparency' not in picture.info:
            return None
        shown = ImageOps.exif_transpose(picture)
        return np.asarray(shown.convert('RGBA').getchannel('A')) > 0
