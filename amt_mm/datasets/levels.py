"""Warn if images of 16 bits use a part of the levels, or are clipped."""

from __future__ import annotations

import logging

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from .transforms.load_image import LoadImage

NUM_IMAGES = 8


def log_levels(dataset: BaseDataset) -> None:
    """Warn if the first images would be too dark, or clipped."""
    paths = [dataset.get_data_info(index)['img_path']
             for index in range(min(NUM_IMAGES, len(dataset)))]
    for number, step in enumerate(dataset.pipeline.transforms):
        if not isinstance(step, LoadImage) or step.wanted.channels_kept:
            continue
        found = [levels for path in paths if (levels := step.levels(path))]
        if not found:
            continue
        lows, highs = zip(*found, strict=True)
        low, high, white = min(lows), max(highs), step.white_level
        if white / 2 < high <= white:
            continue
        fits = (1 << high.bit_length()) - 1
        print_log(
            f'{len(found)} of the first {len(paths)} images have 16 bits, with'
            f' levels of {low:,} to {high:,}; white_level {white:,} is white, '
            f'so they come out {"clipped" if high > white else "dark"}. '
            f'Set pipeline.{number}.white_level={fits} of '
            f'{type(step).__name__} to make level {fits:,} white.',
            logger='current',
            level=logging.WARNING)
