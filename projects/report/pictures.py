"""The pictures that a run has saved, small enough for a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .run_folder import Run

MAX_WIDTH, QUALITY, MAX_PICTURES = 1200, 60, 40


@dataclass(frozen=True)
class ImageSeries:
    """Pictures of one name through time.

    Attributes:
        run (int): Index of the run.
        name (str): What the pictures were called.
        steps (list[int]): Their steps.
        sources (list[str]): Their data, as URIs.
        width (int): Of the first, in pixels.
        height (int): Of the first, in pixels.
        left_out (int): How many more there are.
    """

    run: int
    name: str
    steps: list[int]
    sources: list[str]
    width: int
    height: int
    left_out: int


def image_series(index: int, run: Run) -> list[ImageSeries]:
    """Read the pictures of a run; those that cannot be read are left out."""
    made = []
    for name, paths in run.pictures.items():
        chosen = np.linspace(0, len(paths) - 1,
                             min(len(paths), MAX_PICTURES)).round().astype(int)
        steps = [list(paths)[i] for i in chosen]
        shots = {step: shot for step in steps
                 if (shot := _shrink(paths[step]))}
        if shots:
            sizes = [size for _, size in shots.values()]
            made.append(ImageSeries(index, name, list(shots),
                             [source for source, _ in shots.values()],
                             *sizes[0], len(paths) - len(shots)))
    return made


def _shrink(path: Path) -> tuple[str, tuple[int, int]] | None:
    """Return a picture as a URI of WebP, with its (width, height)."""
    try:
        with Image.open(path) as image:
            image.thumbnail((MAX_WIDTH, image.height * MAX_WIDTH))
            data = io.BytesIO()
            image.convert('RGB').save(data, 'WEBP', quality=QUALITY)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    text = base64.b64encode(data.getvalue()).decode()
    return f'data:image/webp;base64,{text}', image.size
