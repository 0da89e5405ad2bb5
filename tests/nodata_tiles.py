"""Generated tiles of which a share of the pixels is without data."""

from __future__ import annotations

import numpy as np

SHARES = 0., .1, .3, .45, .6
KINDS = 'border', 'corner', 'diagonal'


def missing_pixels(kind: str, share: float, height: int = 224,
                   width: int = 224) -> np.ndarray:
    """Return which pixels (H, W) are without data, a share of them.

    They lie on the left border, in the corner at the upper left, or outside
    of a band that is turned by 30 degrees, as of a satellite's scene.
    """
    y, x = np.mgrid[:height, :width] + .5
    if kind == 'border':
        depth = x
    elif kind == 'corner':
        depth = x / width + y / height
    else:
        across = (x - width / 2) * np.cos(np.pi / 6) + \
            (y - height / 2) * np.sin(np.pi / 6)
        depth = -np.abs(across)
    return depth < np.quantile(depth, share)


def tile(seed: int, kind: str, share: float, height: int = 224,
         width: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 of noise, and where data is missing."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 255, (height // 4 + 1, width // 4 + 1, 3))
    image = coarse.repeat(4, 0).repeat(4, 1).astype(np.uint8)
    is_missing = missing_pixels(kind, share, height, width)
    return image[:height, :width].copy(), is_missing
