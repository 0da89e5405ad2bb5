"""Apply the crop and the flip of an image to its saliency map.

Boxes are (left, top, right, bottom) as shares of the image, in [0, 1].
"""

from __future__ import annotations

from functools import cache

import numpy as np

Box = tuple[float, float, float, float]

WHOLE: Box = (0., 0., 1., 1.)


def crop_map(saliency_map: np.ndarray,
             box: Box = WHOLE,
             flip: str | None = None,
             size: tuple[int, int] | None = None) -> np.ndarray:
    """Integrate a map (h, w) over each patch of a cropped and flipped image.

    The map is a step function on its small grid, so the integral is exact and
    costs two small matrix products. The flip is one of mmcv's ``RandomFlip``;
    the crop has ``size`` (h', w') patches, (h, w) by default. Returned are
    float64 weights in units of map cells. Source: AMT, section 3.2, ``P_A`` is
    obtained by summing ``a_w`` in each patch.
    """
    h, w = saliency_map.shape
    new_h, new_w = size or (h, w)
    left, top, right, bottom = box
    rows = overlap(top, bottom, new_h, h)
    columns = overlap(left, right, new_w, w)
    if flip in ('vertical', 'diagonal'):
        rows = rows[::-1]
    if flip in ('horizontal', 'diagonal'):
        columns = columns[::-1]
    return rows @ saliency_map @ columns.T


def crop_share(mask: np.ndarray,
               box: Box = WHOLE,
               flip: str | None = None,
               size: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Return the share (h', w') of a crop's patches where pixels are True."""
    (height, width), (h, w) = mask.shape, size
    left, top, right, bottom = box
    num_pixels = (right - left) * width / w * (bottom - top) * height / h
    return crop_map(mask, box, flip, size) / num_pixels


def overlap(start: float, stop: float, num_patches: int,
            num_cells: int) -> np.ndarray:
    """Return how much of each cell each patch covers along one axis.

    The crop is from ``start`` to ``stop`` in shares of the image. A row of the
    result (num_patches, num_cells) sums to the length of a patch in cells.
    """
    step = (stop - start) * num_cells / num_patches
    edges = start * num_cells + step * _numbers(num_patches + 1)[:, None]
    # how far each cell is filled from the left up to each edge
    filled = edges - _numbers(num_cells)
    np.maximum(filled, 0., out=filled)
    np.minimum(filled, 1., out=filled)  # faster than np.clip on small arrays
    return filled[1:] - filled[:-1]


@cache
def _numbers(stop: int) -> np.ndarray:
    """Return 0, 1, ..., stop - 1, as floats: no operation converts them."""
    numbers = np.arange(float(stop))
    numbers.flags.writeable = False
    return numbers


def compose(outer: Box, inner: Box) -> Box:
    """Express a crop of a crop in shares of the original image."""
    left, top, right, bottom = outer
    width, height = right - left, bottom - top
    return (left + inner[0] * width, top + inner[1] * height,
            left + inner[2] * width, top + inner[3] * height)


def flip_box(box: Box, direction: str | None) -> Box:
    """Mirror a box together with its image."""
    left, top, right, bottom = box
    if direction in ('horizontal', 'diagonal'):
        left, right = 1 - right, 1 - left
    if direction in ('vertical', 'diagonal'):
        top, bottom = 1 - bottom, 1 - top
    return left, top, right, bottom
