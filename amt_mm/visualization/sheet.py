"""Lay out pictures in rows and columns, with captions and a legend.

All pictures are uint8 RGB, (H, W, 3), of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from .tiles import colour_scale

MARGIN, GAP, LINE = 12, 24, 32
TEXT_HEIGHT = 16
PAPER, INK = 255, '#282828'
PIXELS_PER_INCH = 72  # so that a point is a pixel
FONT = 'DejaVu Sans'  # which matplotlib ships

# of the legend: its key, a picture, and what it means
Entry = tuple[np.ndarray, str]


def draw_table(captions: Sequence[str],
               rows: Sequence[Sequence[np.ndarray]],
               entries: Sequence[Entry] = ()) -> np.ndarray:
    """Stack rows of pictures between captions and a legend.

    Args:
        captions (Sequence[str]): One a column.
        rows (Sequence[Sequence[np.ndarray]]): Pictures.
        entries (Sequence[tuple]): Keys of the legend and their texts, broken
            into lines.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
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
    return _render(placed, width, top + LINE * bool(entries))


def _render(placed: Sequence[tuple[int, int, np.ndarray | str]], width: int,
            height: int) -> np.ndarray:
    """Draw pictures, pixel by pixel, and texts."""
    # a little more, as sides are rounded down
    figure = Figure(((width + .01) / PIXELS_PER_INCH,
                     (height + .01) / PIXELS_PER_INCH),
                    dpi=PIXELS_PER_INCH, facecolor='white')
    canvas = FigureCanvasAgg(figure)
    for left, top, content in placed:
        if isinstance(content, str):
            figure.text(left / width, 1 - (top + TEXT_HEIGHT) / height,
                        content, size=TEXT_HEIGHT, color=INK, family=FONT,
                        parse_math=False)
        else:
            figure.figimage(content, left, height - top - len(content),
                            origin='upper')
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def text_width(text: str) -> int:
    """Return the width of a line of text, in pixels."""
    font = FontProperties(family=FONT)
    return ceil(TextPath((0, 0), text, TEXT_HEIGHT, font).get_extents().x1)


def scale_entry(text: str) -> Entry:
    """Explain the colours of saliency."""
    levels = np.linspace(0, 1, 6 * TEXT_HEIGHT)
    return colour_scale(np.tile(levels, (TEXT_HEIGHT, 1))), text
