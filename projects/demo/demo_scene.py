"""Draw scenes: textured objects on cluttered backgrounds."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.colors import hsv_to_rgb

from .demo_shapes import CLASSES, outline_area

# S image side in pixels; canvases are (S, S, 3) float32 RGB in [0, 1]
MAIN_AREA = (0.15, 0.40)
OTHER_AREA = (0.04, 0.09)
MAX_OBJECTS = 2
NUM_TRIES = 12
TEXTURE = 0.12
SHADE = 0.8
OVERSAMPLING = 4
OUTLINES, TEXTURES = zip(*CLASSES.values(), strict=True)


@dataclass(frozen=True)
class DemoObject:
    """One object of a scene: its class index and its (S, S) bool mask."""

    label: int
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """An (S, S, 3) uint8 RGB image and its objects, the main one first."""

    image: np.ndarray
    objects: tuple[DemoObject, ...]

    @property
    def semantic_map(self) -> np.ndarray:
        """Return the (S, S) uint8 map: 0 background, class index + 1."""
        semantic = np.zeros(self.image.shape[:2], np.uint8)
        for obj in self.objects:
            semantic[obj.mask] = obj.label + 1
        return semantic


@dataclass(frozen=True)
class _Pose:
    """Map object coordinates to pixels: matrix @ (u, v) + centre."""

    matrix: np.ndarray
    centre: np.ndarray

    @property
    def scale(self) -> float:
        """The pixels of a unit of object coordinates, on average."""
        return float(np.sqrt(np.linalg.det(self.matrix)))

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + self.centre

    def coordinates(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return u and v of every pixel centre, each (S, S)."""
        inverse = np.linalg.inv(self.matrix)
        x = np.arange(size) + 0.5 - self.centre[0]
        y = np.arange(size)[:, None] + 0.5 - self.centre[1]
        return (inverse[0, 0] * x + inverse[0, 1] * y,
                inverse[1, 0] * x + inverse[1, 1] * y)


def draw_scene(label: int, size: int, rng: np.random.Generator) -> Scene:
    """Draw a scene whose largest object is of class ``label``.

    The main object covers 15 to 40 % of the image and is uniform over the
    positions where it fits; a smaller one of any class may be added where it
    does not touch it.
    """
    canvas = _background(size, rng)
    pose = _random_pose(label, size, MAIN_AREA, rng)
    objects = [_paint(canvas, label, pose, _alpha(label, pose, size), rng)]
    occupied = objects[0].mask.copy()
    for _ in range(MAX_OBJECTS - 1):
        other = int(rng.integers(len(CLASSES)))
        for _ in range(NUM_TRIES):
            pose = _random_pose(other, size, OTHER_AREA, rng)
            alpha = _alpha(other, pose, size)
            if not (occupied & (alpha > 0)).any():
                objects.append(_paint(canvas, other, pose, alpha, rng))
                occupied |= alpha > 0
                break
    canvas += rng.normal(0, 0.002, canvas.shape).astype(np.float32)
    image = np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return Scene(image, tuple(objects))


def _random_pose(label: int, size: int, area: tuple[float, float],
                 rng: np.random.Generator) -> _Pose:
    """Sample size, tilt, stretch and position; small sizes more often."""
    outline = OUTLINES[label]()
    share = area[0] * (area[1] / area[0])**(rng.random()**2)
    scale = size * np.sqrt(share / outline_area(outline))
    angle, stretch = rng.uniform(-0.6, 0.6), np.exp(rng.uniform(-0.12, 0.12))
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]]) * [stretch, 1 / stretch]
    low, high = (f(outline[0] @ matrix.T, axis=0) for f in (np.min, np.max))
    room = 0.97 * size
    scale = min(scale, room / (high - low).max())
    free = room - scale * (high - low)
    corner = 0.015 * size + rng.uniform(size=2) * free
    return _Pose(matrix * scale, corner - scale * low)


def _alpha(label: int, pose: _Pose, size: int) -> np.ndarray:
    """Return the coverage of every pixel by the outline, (S, S)."""
    fine = np.zeros((OVERSAMPLING * size, ) * 2, np.uint8)
    contours = [
        np.round(OVERSAMPLING * pose.to_pixels(contour) - 0.5).astype(np.int32)
        for contour in OUTLINES[label]()
    ]
    cv2.fillPoly(fine, contours, 255)
    coarse = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return coarse.astype(np.float32) / 255


def _paint(canvas: np.ndarray, label: int, pose: _Pose, alpha: np.ndarray,
           rng: np.random.Generator) -> DemoObject:
    """Blend a textured, shaded object into the canvas."""
    u, v = pose.coordinates(len(canvas))
    pattern = TEXTURES[label](u, v, rng.uniform(0.8, 1.3))
    ink = 0.5 + TEXTURE * np.tanh(3 * pattern[..., None])
    first, second = _colour_pair(label, rng)
    # the light comes from above, or nearly
    angle = rng.uniform(-0.5, 0.5)
    x, y = ((np.arange(len(canvas)) + 0.5 - c) / pose.scale
            for c in pose.centre)
    shade = 1 + SHADE * (np.sin(angle) * x - np.cos(angle) * y[:, None])
    colour = (ink * first + (1 - ink) * second) * shade[..., None]
    canvas += alpha[..., None] * (colour - canvas)
    return DemoObject(label, alpha > 0.5)


def _colour_pair(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return a light and a dark RGB colour of the hue of a class, (2, 3)."""
    hue = (label + rng.uniform(-0.25, 0.25)) / len(CLASSES) % 1
    light = hsv_to_rgb([hue, rng.uniform(0.3, 0.5), rng.uniform(0.9, 1)])
    dark = hsv_to_rgb([hue, rng.uniform(0.7, 1), rng.uniform(0.3, 0.45)])
    return np.stack([light, dark])


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Blend two greys from one side to the other."""
    first, second = rng.uniform(0.05, 0.3), rng.uniform(0.7, 0.95)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    along = ramp * np.cos(angle) + ramp[:, None] * np.sin(angle)
    share = 0.5 + along[..., None] / (2 * np.abs(along).max())
    canvas = (first + share * (second - first)) * np.ones(3)
    return canvas.astype(np.float32)
