"""Look at some images of a data set, and warn of what is odd."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from .printable import printable
from .transforms.load_image import LoadImage

NUM_IMAGES = 8
NUM_FILES = 32


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


def log_contents(dataset: BaseDataset) -> None:
    """Warn if most of some files are no images, or all are the same."""
    step = next((step for step in dataset.pipeline.transforms
                 if isinstance(step, LoadImage)), None)
    if step is None or len(dataset) < NUM_IMAGES:
        return
    contents, num_read = set(), 0
    indices = np.unique(np.linspace(
        0, len(dataset) - 1, NUM_FILES).astype(int))
    for index in indices:
        try:
            content = step.read(
                dataset.get_data_info(int(index))['img_path'])
            num_read += 1
        except (OSError, ValueError):  # told when it is its turn
            continue
        contents.add(hashlib.sha256(content).digest())
    if num_read < len(indices) / 2:
        odd = f'{num_read} can be read'
    elif len(contents) == 1:
        odd = f'{num_read} are the same image'
    else:
        return
    print_log(f'of {len(indices)} images looked at in '
              f'{printable(dataset.data_root)}, {odd}.',
              logger='current', level=logging.WARNING)
