"""Lay out pictures in rows and columns, with words.

All pictures are uint8 RGB, (H, W, 3), of any size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .lettering import draw_text
from .tiles import colour_scale

MARGIN, GAP = 12, 24
TEXT_HEIGHT = 16
PAPER, INK = 255, 40


def draw_table(captions: Sequence[str],
               rows: Sequence[Sequence[np.ndarray]],
               entries: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Stack rows of pictures between captions and a legend.

    Args:
        captions (Sequence[str]): One a column.
        rows (Sequence[Sequence[np.ndarray]]): Pictures.
        entries (Sequence[np.ndarray]): Of the legend, broken into lines.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    words = [draw_text(text, TEXT_HEIGHT, INK, PAPER) for text in captions]
    column_width = max(tile.shape[1] for row in [words, *rows]
                       for tile in row)
    width = MARGIN + len(words) * (column_width + MARGIN)
    width = max([width] + [2 * MARGIN + e.shape[1] for e in entries])
    lines = [_line(row, width, column_width) for row in [words, *rows]]
    if entries:
        lines += [_line(row, width) for row in _wrap(entries, width)]
    return np.vstack([_blank(MARGIN, width), *lines])


def scale_entry(text: str) -> np.ndarray:
    """Explain the colours of saliency."""
    levels = np.linspace(0, 1, 6 * TEXT_HEIGHT)
    return legend_entry(
        colour_scale(np.tile(levels, (TEXT_HEIGHT, 1))), text)


def _wrap(entries: Sequence[np.ndarray],
          width: int) -> list[list[np.ndarray]]:
    """Break entries into lines of at most ``width`` pixels."""
    lines: list[list[np.ndarray]] = [[]]
    right = MARGIN
    for entry in entries:
        if lines[-1] and right + entry.shape[1] > width:
            lines.append([])
            right = MARGIN
        lines[-1].append(entry)
        right += entry.shape[1] + GAP
    return lines


def legend_entry(key: np.ndarray, text: str) -> np.ndarray:
    """Put a text to the right of a key of the legend."""
    words = draw_text(text, TEXT_HEIGHT, INK, PAPER)
    entry = _blank(len(words), key.shape[1] + 8 + words.shape[1])
    entry[3:3 + len(key), :key.shape[1]] = key
    entry[:, key.shape[1] + 8:] = words
    return entry


def _line(pictures: Sequence[np.ndarray],
          width: int,
          column_width: int | None = None) -> np.ndarray:
    """Place pictures side by side above a margin."""
    line = _blank(max(map(len, pictures)) + MARGIN, width)
    left = MARGIN
    for picture in pictures:
        line[:len(picture), left:left + picture.shape[1]] = picture
        step = picture.shape[1] + GAP
        left += column_width + MARGIN if column_width else step
    return line


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)
