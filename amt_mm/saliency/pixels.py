"""The saliency of an image from its pixels alone, without a model.

Shape letters: (H, W) image, (h, w) token grid, L = h * w cells, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

FLOOR = 1e-3  # of every map, so that any token may be drawn
# RBD, in units of Lab: the spread of similar colours, and the largest distance
SIGMA, REACH = 10., 30.
# of geodesic distances in a byte, so that two of them add up without overflow
FAR = 127
NEIGHBOURS = [(y, x) for y in (0, 1, 2) for x in (0, 1, 2) if (y, x) != (1, 1)]


class Grid(NamedTuple):
    """What does not depend on the image."""

    # the pairs of cells that touch; all cells of the border touch each other
    rows: np.ndarray
    columns: np.ndarray
    border: np.ndarray  # (L,) float32, 1 on the border
    near: np.ndarray  # (L, L) float32, Gaussian weight of the distance


def pixel_saliency(image: np.ndarray,
                   grid: tuple[int, int],
                   method: str = 'rbd',
                   centre_weight: float = 1.) -> np.ndarray:
    """Return where an image is likely to hold an object, (h, w) float32.

    The image is (H, W) or (H, W, C), of any type; three channels are BGR. The
    map is in [0.001, 1], or NaN for an image that is not finite.
    """
    if image.dtype.kind == 'f' and not np.isfinite(image).all():
        return np.full(grid, np.nan, np.float32)
    return weigh_centre(PIXEL_METHODS[method](image, grid), centre_weight)


def weigh_centre(maps: np.ndarray, centre_weight: float) -> np.ndarray:
    """Scale maps (..., h, w) and multiply by a power of the centre prior."""
    prior = centre_prior(*maps.shape[-2:])**np.float32(centre_weight)
    return np.float32(FLOOR) + np.float32(1 - FLOOR) * min_max(maps) * prior


@lru_cache(maxsize=64)
def centre_prior(height: int, width: int) -> np.ndarray:
    """Return a read-only Gaussian of half the side, 1 at the centre."""
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(width) + 0.5) / width - 0.5
    prior = np.exp(-2 * (y[:, None]**2 + x**2)).astype(np.float32)
    prior /= prior.max()
    prior.flags.writeable = False
    return prior


def background_contrast(image: np.ndarray,
                        grid: tuple[int, int]) -> np.ndarray:
    """Return robust background detection (h, w), cells as its regions.

    Source: Zhu et al., "Saliency Optimization from Robust Background
    Detection", CVPR 2014, sections 3 and 4. The time grows with the cube of
    the number of cells.
    """
    cells = mean_colours(image, grid).reshape(grid[0] * grid[1], -1)
    rows, columns, border, near = describe_grid(*grid)
    squares = (cells * cells).sum(1)
    distance = squares[:, None] + squares - 2 * cells @ cells.T
    distance = np.sqrt(np.maximum(distance, 0))
    alike = similarity(distance, rows, columns)
    connectivity = alike @ border / np.sqrt(alike.sum(1))
    background = 1 - np.exp(connectivity**2 * -0.5)
    contrast = (distance * near) @ background
    contrast = min_max(contrast.reshape(grid)).ravel()
    # least squares: background 0, contrast 1, neighbours of a colour alike
    system = np.zeros_like(distance)
    system[rows, columns] = -0.1 - np.exp(
        distance[rows, columns]**2 * (-0.5 / SIGMA**2))
    np.fill_diagonal(system, background + contrast - system.sum(1) + 1e-6)
    return np.linalg.solve(system, contrast).reshape(grid)


def similarity(distance: np.ndarray, rows: np.ndarray,
               columns: np.ndarray) -> np.ndarray:
    """Return how alike cells are along the best way between them (L, L)."""
    steps = np.full(distance.shape, FAR, np.uint8)
    steps[rows, columns] = np.minimum(
        distance[rows, columns] * (FAR / REACH) + 0.5, FAR)
    np.fill_diagonal(steps, 0)
    way = np.empty_like(steps)
    for via in range(len(steps)):  # Floyd and Warshall
        np.add(steps[:, via, None], steps[via], out=way)
        np.minimum(steps, way, out=steps)
    length = np.arange(FAR + 1, dtype=np.float32) * (REACH / FAR / SIGMA)
    alike = np.exp(length**2 * -0.5)
    alike[FAR] = 0
    return alike.take(steps)


@lru_cache(maxsize=8)
def describe_grid(height: int, width: int) -> Grid:
    """Return the graph of a grid's cells: 8 neighbours, the border joined."""
    y, x = (n.ravel() for n in np.mgrid[:height, :width])
    apart_y, apart_x = abs(y[:, None] - y), abs(x[:, None] - x)
    border = (y == 0) | (y == height - 1) | (x == 0) | (x == width - 1)
    touch = np.maximum(apart_y, apart_x) <= 1
    touch |= border[:, None] & border
    np.fill_diagonal(touch, False)
    # a quarter of the side, as the paper has it
    near = np.exp(-8 * ((apart_y / height)**2 + (apart_x / width)**2))
    rows, columns = np.nonzero(touch)
    return Grid(rows, columns, border.astype(np.float32),
                near.astype(np.float32))


def border_distance(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the geodesic distance (h, w) of each cell to the border.

    A step to one of 8 neighbours is as long as the two differ in mean colour
    and in the spread of their pixels. Source: Wei et al., "Geodesic Saliency
    Using Background Priors", ECCV 2012.
    """
    h, w = grid
    colours, scale = mean_colours(image, grid), 100 / value_range(image)
    cells = np.concatenate([colours, scale * spread(image, grid)], 2)
    padded = np.pad(cells, ((1, 1), (1, 1), (0, 0)), mode='edge')
    return shortest_ways(np.sqrt([
        ((padded[y:y + h, x:x + w] - cells)**2).sum(2)
        for y, x in NEIGHBOURS]))


def shortest_ways(steps: np.ndarray) -> np.ndarray:
    """Return the ways (..., h, w) to the border of steps (8, ..., h, w)."""
    *batch, h, w = steps.shape[1:]
    length = np.zeros((*batch, h + 2, w + 2), np.float32)
    inside = length[..., 1:-1, 1:-1]
    inside[:] = np.inf
    for _ in range(2 * max(h, w)):  # long enough but for a labyrinth
        ways = [length[..., y:y + h, x:x + w] for y, x in NEIGHBOURS]
        np.minimum(inside, np.add(ways, steps).min(0), out=inside)
    return inside


def detail(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the spread of the pixels of each cell (h, w)."""
    return spread(image, grid).mean(2)


PIXEL_METHODS: dict[str, Callable[[np.ndarray, tuple[int, int]],
                                  np.ndarray]] = dict(
    rbd=background_contrast, geodesic=border_distance, detail=detail)


def mean_colours(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the mean of each cell (h, w, C): Lab, or channels up to 100."""
    means = cell_means(image.astype(np.float32), grid)
    low = 0 if image.dtype == np.uint8 else means.min()
    means = (means - low) / np.float32(value_range(image))
    if means.shape[2] == 3:
        return cv2.cvtColor(means, cv2.COLOR_BGR2LAB)
    return means * 100


def value_range(image: np.ndarray) -> float:
    """Return the range of the values: 255 of bytes, else the image's own."""
    if image.dtype == np.uint8:
        return 255.
    return max(float(image.max()) - float(image.min()), 1e-12)


def spread(image: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the standard deviation of the pixels of each cell (h, w, C)."""
    values = image.astype(np.float32)
    means = cell_means(values, grid)
    variance = cell_means(values * values, grid) - means * means
    return np.sqrt(np.maximum(variance, 0))


def cell_means(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the means (h, w, C) of float32 pixels (H, W, C) or (H, W)."""
    means = cv2.resize(values, grid[::-1], interpolation=cv2.INTER_AREA)
    return means.reshape(*grid, -1)


def min_max(maps: np.ndarray, least_span: float = 1e-6) -> np.ndarray:
    """Scale maps (..., h, w) to [0, 1]; a constant becomes zeros."""
    low = maps.min((-2, -1), keepdims=True)
    high = maps.max((-2, -1), keepdims=True)
    return (maps - low) / np.maximum(high - low, np.float32(least_span))
