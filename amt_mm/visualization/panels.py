"""Sheets that show what AMT does to images: rows of pictures, and a legend.

(H, W) image, (h, w) grid of the map or the plan; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from amt_mm.masking.plan import (
    MASKED,
    ROLES,
    THROWN,
    UNCOUNTED,
    UNPREDICTED,
)

GREY, GREY_EDGE = 150, 182
DARK, HATCH, PERIOD = 24, 112, 8
MARGIN, GAP, LINE = 12, 24, 32
TEXT_HEIGHT = 16
PAPER, INK = 255, '#282828'
# which matplotlib ships
FONT = ImageFont.truetype(findfont('DejaVu Sans'), TEXT_HEIGHT)
# of the legend: its key, a picture, and what it means
Entry = tuple[np.ndarray, str]
MIN_SIDE = 256
# of which the legend shows those that a plan has
RARE = {'masked, not predicted': UNPREDICTED, 'masked, no data': UNCOUNTED}
NAMED = {**ROLES, **RARE}
CAPTIONS = ('image', 'saliency', 'plan', 'reconstruction')


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel ``factor`` times in both directions."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def spread(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Give every pixel of (H, W) the value of its cell in (h, w)."""
    rows, columns = _cells(grid.shape, shape)
    return grid[rows[:, None], columns]


def colour_scale(values: np.ndarray) -> np.ndarray:
    """Return the magma colours of (h, w) values in [0, 1], (h, w, 3)."""
    return colormaps['magma'](values.astype(float), bytes=True)[..., :3]


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

    Masked patches are grey, or the reconstruction where one is given; those
    not predicted or without data are hatched, thrown ones dark and hatched.
    """
    roles = spread(plan, image.shape[:2])[..., None]
    # the first pixel of every cell in both directions
    rows, columns = (np.diff(cells, prepend=-1) > 0 for cells in
                     _cells(plan.shape, image.shape[:2]))
    edges = rows[:, None] | columns
    y, x = np.indices(image.shape[:2], sparse=True)
    # diagonal lines that run on from patch to patch
    is_line = (x + y) % PERIOD < 2
    cover = reconstruction
    if cover is None:
        cover = np.where(edges, GREY_EDGE, GREY)[..., None]
    unpredicted = np.where(edges | is_line, GREY_EDGE, GREY)[..., None]
    hatching = np.where(is_line, HATCH, DARK)[..., None]
    picture = np.where(roles == MASKED, cover, image)
    picture = np.where(np.isin(roles, [*RARE.values()]), unpredicted, picture)
    return np.where(roles == THROWN, hatching, picture).astype(np.uint8)


def _cells(grid: tuple[int, ...],
           shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell row of every pixel row, and of every column."""
    rows, columns = (np.arange(side) * cells // side
                     for side, cells in zip(shape, grid, strict=True))
    return rows, columns


def draw_table(captions: Sequence[str],
               rows: Sequence[Sequence[np.ndarray]],
               entries: Sequence[Entry] = ()) -> np.ndarray:
    """Stack rows of pictures between the columns' captions and a legend."""
    step = MARGIN + max([*map(text_width, captions), *(
        tile.shape[1] for row in rows for tile in row)])
    width = max([MARGIN + len(captions) * step, *(
        2 * MARGIN + len(key[0]) + 8 + text_width(text)
        for key, text in entries)])
    # what is where: (left, top, picture or text)
    placed: list[tuple[int, int, np.ndarray | str]] = [
        (MARGIN + step * column, MARGIN, text)
        for column, text in enumerate(captions)]
    top = MARGIN + LINE
    for row in rows:
        placed += [(MARGIN + step * column, top, tile)
                   for column, tile in enumerate(row)]
        top += max(map(len, row)) + MARGIN
    left = MARGIN
    for key, text in entries:
        words = left + len(key[0]) + 8
        if left > MARGIN and words + text_width(text) > width:
            words, left, top = words - left + MARGIN, MARGIN, top + LINE
        placed += [(left, top + 3, key), (words, top, text)]
        left = words + text_width(text) + GAP
    sheet = Image.new('RGB', (width, top + LINE * bool(entries)),
                      (PAPER, ) * 3)
    for left, top, content in placed:
        if isinstance(content, str):  # from its base line
            ImageDraw.Draw(sheet).text((left, top + TEXT_HEIGHT), content,
                                       INK, FONT, anchor='ls')
        else:
            sheet.paste(Image.fromarray(content), (left, top))
    return np.array(sheet)


def text_width(text: str) -> int:
    """Return the width of a line of text, in pixels."""
    return ceil(FONT.getlength(text))


def scale_entry(text: str) -> Entry:
    """Explain the colours of saliency."""
    levels = np.linspace(0, 1, 6 * TEXT_HEIGHT)
    return colour_scale(np.tile(levels, (TEXT_HEIGHT, 1))), text


@dataclass(frozen=True)
class Panel:
    """What one row of a sheet shows."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    saliency_map: np.ndarray  # (h, w) in [0, 1], over the whole image
    plan: np.ndarray  # (h, w) of the values of NAMED
    # (H, W, 3) uint8 RGB, of which only masked patches are shown
    reconstruction: np.ndarray | None = None


def draw_sheet(panels: Sequence[Panel]) -> np.ndarray:
    """Stack one row per panel, of images of any size, with a legend."""
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
        if name in RARE and role not in roles:
            continue
        key = draw_plan(sample, np.full((1, 1), role))
        share = 100 * np.mean(roles == role)
        entries.append((key, f'{name} {share:.0f} %'))
    return entries
