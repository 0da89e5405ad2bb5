"""Lay out sheets that show what AMT does to images."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from amt_mm.masking.plan import ROLES, UNPREDICTED

from .sheet import TEXT_HEIGHT, Entry, draw_table, scale_entry
from .tiles import draw_plan, draw_saliency, enlarge

# (H, W) image, (h, w) grid of the map or the plan; pictures are uint8 RGB
MIN_SIDE = 256
NAMED = {**ROLES, 'masked, not predicted': UNPREDICTED}
CAPTIONS = ('image', 'saliency', 'plan', 'reconstruction')


@dataclass(frozen=True)
class Panel:
    """What one row of a sheet shows.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        saliency_map (np.ndarray): (h, w) in [0, 1], over the whole image.
        plan (np.ndarray): (h, w) of VISIBLE, MASKED, THROWN and UNPREDICTED.
        reconstruction (np.ndarray | None): (H, W, 3) uint8 RGB, of which
            only masked patches are shown. Defaults to None.
    """

    image: np.ndarray
    saliency_map: np.ndarray
    plan: np.ndarray
    reconstruction: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for values that would be drawn as others."""
        if self.image.dtype != np.uint8:
            raise ValueError(f'image must be uint8, got {self.image.dtype}.')
        low, high = self.saliency_map.min(), self.saliency_map.max()
        # nan fails both comparisons
        if not (low >= 0 and high <= 1):
            raise ValueError('saliency_map must be in [0, 1], got values from '
                             f'{low} to {high}.')
        wrong = np.setdiff1d(self.plan, [*NAMED.values()])
        if wrong.size:
            raise ValueError(f'plan must hold only {[*NAMED.values()]}, got '
                             f'{wrong[:5].tolist()}.')


def draw_panel(image: np.ndarray,
               saliency_map: np.ndarray,
               plan: np.ndarray,
               reconstruction: np.ndarray | None = None) -> np.ndarray:
    """Return one row with captions and legend, (H', W', 3) uint8 RGB."""
    return draw_sheet([Panel(image, saliency_map, plan, reconstruction)])


def draw_sheet(panels: Sequence[Panel]) -> np.ndarray:
    """Stack one row per panel between the captions and the legend.

    Images may differ in size; small ones are enlarged by a whole factor.

    Returns:
        np.ndarray: (H', W', 3) uint8 RGB.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError('panels must hold at least one panel, got 0.')
    rows = [draw_tiles(panel) for panel in panels]
    return draw_table(CAPTIONS[:max(map(len, rows))], rows,
                      legend_entries(panels))


def draw_tiles(panel: Panel) -> list[np.ndarray]:
    """Return the three or four pictures of a row, all of one size."""
    factor = max(1, MIN_SIDE // max(panel.image.shape[:2]))
    image = enlarge(panel.image, factor)
    tiles = [image, draw_saliency(image, panel.saliency_map),
             draw_plan(image, panel.plan)]
    if panel.reconstruction is not None:
        reconstruction = enlarge(panel.reconstruction, factor)
        tiles.append(draw_plan(image, panel.plan, reconstruction))
    return tiles


def legend_entries(panels: Sequence[Panel]) -> list[Entry]:
    """Return the keys to the colour scale and the plan with their texts."""
    side = TEXT_HEIGHT
    roles = np.concatenate([panel.plan.ravel() for panel in panels])
    entries = [scale_entry('saliency 0 to 1')]
    sample = cv2.resize(
        panels[0].image, (side, side), interpolation=cv2.INTER_AREA)
    for name, role in NAMED.items():
        if role == UNPREDICTED and role not in roles:
            continue
        key = draw_plan(sample, np.full((1, 1), role))
        share = 100 * np.mean(roles == role)
        entries.append((key, f'{name} {share:.0f} %'))
    return entries
