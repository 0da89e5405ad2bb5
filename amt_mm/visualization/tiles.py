"""Draw one picture of a row: the saliency or the plan over an image."""
from __future__ import annotations

import cv2
import numpy as np

from amt_mm.masking.plan import MASKED, THROWN, UNPREDICTED

# (H, W) image, (h, w) grid of the map or the plan; pictures are uint8 RGB
GREY, GREY_EDGE = 150, 182
DARK, HATCH = 24, 112


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel ``factor`` times in both directions."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def spread(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Give every pixel of (H, W) the value of its cell in (h, w)."""
    rows, columns = _cells(grid.shape, shape)
    return grid[rows[:, None], columns]


def colour_scale(values: np.ndarray) -> np.ndarray:
    """Return the magma colours of (h, w) values in [0, 1], (h, w, 3)."""
    levels = np.round(255 * values.astype(np.float32)).astype(np.uint8)
    bgr = cv2.applyColorMap(levels, cv2.COLORMAP_MAGMA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def draw_saliency(image: np.ndarray,
                  saliency_map: np.ndarray,
                  opacity: float = 0.65) -> np.ndarray:
    """Blend the map, in magma, over a grey version of the image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    colours = colour_scale(spread(saliency_map, image.shape[:2]))
    blend = (1 - opacity) * grey + opacity * colours
    return np.round(blend).astype(np.uint8)


def draw_plan(image: np.ndarray,
              plan: np.ndarray,
              reconstruction: np.ndarray | None = None) -> np.ndarray:
    """Show visible patches as they are and cover the others.

    Masked patches are flat grey with a light edge, or the reconstruction
    where one is given; those that are not predicted are grey with light
    diagonal hatching, and thrown patches dark with it.
    """
    roles = spread(plan, image.shape[:2])[..., None]
    edges = _edges(plan.shape, image.shape[:2])
    diagonals = _diagonals(image.shape[:2])
    cover = reconstruction
    if cover is None:
        cover = np.where(edges, GREY_EDGE, GREY)[..., None]
    unpredicted = np.where(edges | diagonals, GREY_EDGE, GREY)[..., None]
    hatching = np.where(diagonals, HATCH, DARK)[..., None]
    picture = np.where(roles == MASKED, cover, image)
    picture = np.where(roles == UNPREDICTED, unpredicted, picture)
    return np.where(roles == THROWN, hatching, picture).astype(np.uint8)


def _cells(grid: tuple[int, ...],
           shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell row of every pixel row, and of every column."""
    rows, columns = (np.arange(side) * cells // side
                     for side, cells in zip(shape, grid, strict=True))
    return rows, columns


def _edges(grid: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Mark the first pixel of every cell in both directions, (H, W)."""
    first, second = (np.diff(cells, prepend=-1) > 0
                     for cells in _cells(grid, shape))
    return first[:, None] | second


def _diagonals(shape: tuple[int, ...], period: int = 8) -> np.ndarray:
    """Mark diagonal lines that run on from patch to patch, (H, W)."""
    y, x = np.indices(shape, sparse=True)
    return (x + y) % period < 2
