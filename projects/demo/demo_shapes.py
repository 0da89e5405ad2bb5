"""The classes of the demo data: one outline and one texture each."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

# u, v: object coordinates, x right and y down, outlines reach about 1
# an outline is a list of (n, 2) contours, filled by the even-odd rule
# a texture maps (S, S) coordinates and a frequency to a signed pattern
Outline = Callable[[], list[np.ndarray]]
Texture = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _polar(radii: np.ndarray) -> np.ndarray:
    """Place radii evenly around the circle, the first one upwards."""
    angles = np.arange(len(radii)) * (2 * np.pi / len(radii)) - np.pi / 2
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def _disc() -> list[np.ndarray]:
    return [_polar(np.ones(72))]


def _square() -> list[np.ndarray]:
    return [np.array([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]])]


def _triangle() -> list[np.ndarray]:
    return [_polar(np.ones(3))]


def _ring() -> list[np.ndarray]:
    return [_polar(np.ones(72)), _polar(np.full(72, 0.5))]


def _star() -> list[np.ndarray]:
    return [_polar(np.tile([1.0, 0.5], 5))]


def _cross() -> list[np.ndarray]:
    arm = np.array([[-0.4, -0.4], [-0.4, -1], [0.4, -1]])
    turns = [np.array([[c, -s], [s, c]])
             for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([arm @ turn.T for turn in turns])]


def _hexagon() -> list[np.ndarray]:
    return [_polar(np.ones(6))]


def _heart() -> list[np.ndarray]:
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    x = 16 * np.sin(t)**3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t)
    return [np.stack([x, -(y + 2 - np.cos(4 * t))], 1) / 16]


def _saw(x: np.ndarray) -> np.ndarray:
    """Triangle wave of period 1 in [-1, 1]."""
    return 4 * np.abs(x - np.floor(x) - 0.5) - 1


def _stripes(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    return _saw(freq * u)


def _checks(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    return 2 * np.sin(np.pi * freq * u) * np.sin(np.pi * freq * v)


def _dots(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    # every other row shifts by half a cell, so dots sit as on a die's five
    row = np.floor(freq * v)
    x = freq * u + 0.5 * (row % 2)
    distance = np.hypot(x - np.floor(x) - 0.5, freq * v - row - 0.5)
    return 4 * (0.3 - distance)


def _spokes(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    # whole turns only, or the pattern breaks where the angle wraps
    return _saw(np.round(4 * freq) / (2 * np.pi) * np.arctan2(v, u))


def _ripples(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    return _saw(1.6 * freq * np.hypot(u, v))


def _grid(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    return np.maximum(_saw(freq * u), _saw(freq * v)) - 0.5


def _zigzag(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    return _saw(freq * v + 0.4 * _saw(freq * u))


def _bricks(u: np.ndarray, v: np.ndarray, freq: float) -> np.ndarray:
    row = np.floor(1.4 * freq * v)
    joint = _saw(0.7 * freq * u + 0.5 * (row % 2))
    return np.maximum(_saw(1.4 * freq * v) - 0.45, joint - 0.7) * 2


CLASSES: dict[str, tuple[Outline, Texture]] = {
    'brick_heart': (_heart, _bricks),
    'checked_square': (_square, _checks),
    'dotted_triangle': (_triangle, _dots),
    'grid_cross': (_cross, _grid),
    'rippled_star': (_star, _ripples),
    'spoked_ring': (_ring, _spokes),
    'striped_disc': (_disc, _stripes),
    'zigzag_hexagon': (_hexagon, _zigzag),
}


def outline_area(contours: list[np.ndarray]) -> float:
    """Return the area of an outline whose later contours are holes."""
    areas = []
    for x, y in (contour.T for contour in contours):
        twice = x @ np.roll(y, -1) - y @ np.roll(x, -1)
        areas.append(abs(float(twice)) / 2)
    return areas[0] - sum(areas[1:])
