"""Plans drawn from given maps, and what a model makes of them.

Shape letters: N images, (h, w) token grid; pictures are uint8 RGB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from amt_mm.saliency import SaliencyStore
from amt_mm.saliency.geometry import WHOLE

from .panels import Panel, draw_tiles, legend_entries
from .sheet import draw_table


def sample_plans(generator: Any, maps: np.ndarray, number: int,
                 epoch: int) -> list[np.ndarray]:
    """Draw plans of whole images.

    Args:
        generator (AMTMaskGenerator): Makes the plans; its store is replaced.
        maps (np.ndarray): (N, h, w) saliency in [0, 1].
        number (int): Plans of each image.
        epoch (int): What its schedules go by, 0-based.

    Returns:
        list[np.ndarray]: For each draw (N, h, w) int8, as ``mask_plan`` is.
    """
    with tempfile.TemporaryDirectory() as folder:
        generator.store = store = SaliencyStore(
            folder, len(maps), generator.tokens, 'sample')
        store.reset()
        store.write(1, maps)
        return [
            np.stack([
                generator(dict(sample_idx=index, crop_box=WHOLE,
                               epoch=epoch))['mask_plan']
                for index in range(len(maps))]) for _ in range(number)]


def draw_plans(images: Sequence[np.ndarray], maps: np.ndarray,
               plans: Sequence[np.ndarray],
               pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Draw a row an image: image, saliency, then each plan and what came out.

    Args:
        images (Sequence[np.ndarray]): N of (H, W, 3).
        maps (np.ndarray): (N, h, w) in [0, 1].
        plans (Sequence[np.ndarray]): As :func:`sample_plans` gives them.
        pictures (Sequence[Sequence[np.ndarray]]): The reconstructions for
            each plan, N of (H, W, 3); none where the model makes none.
    """
    captions = ['image', 'saliency']
    rows: list[list[np.ndarray]] = [[] for _ in images]
    panels = []
    for draw, own in enumerate(plans):
        captions.append(f'plan {draw + 1}')
        if pictures:
            captions.append(f'reconstruction {draw + 1}')
        for row, image in enumerate(images):
            made = pictures[draw][row] if pictures else None
            panels.append(Panel(image, maps[row], own[row], made))
            tiles = draw_tiles(panels[-1])
            rows[row] += tiles[2:] if rows[row] else tiles
    return draw_table(captions, rows, legend_entries(panels))
