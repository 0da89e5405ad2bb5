"""Make the augmentation of a sample depend on nothing but its epoch."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from amt_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seed numpy's and Python's generators for one sample of one epoch.

    mmengine seeds each worker once, so what a sample gets depends on how many
    came before in that process, and a resumed run differs from one that was
    never stopped. Put first in a pipeline, this makes the random numbers a
    function of (seed, epoch, sample): the same after a resume, and with any
    number of workers or processes. ``EpochSeedHook`` sets the epoch. The
    repeats that ``RepeatSampler`` asks for each have numbers of their own.

    **Required Keys:**

    - sample_idx

    **Modified Keys:**

    - sample_idx (int): Without the repeat.

    **Added Keys:**

    - epoch (int): 0-based; what a schedule in a later transform goes by.
    """

    def __init__(self) -> None:
        # in shared memory: persistent workers see what the hook writes
        self.seed_and_epoch = torch.full((2, ), -1).share_memory_()

    def set(self, seed: int, epoch: int) -> None:
        """Set the seed of the run and the epoch in all workers."""
        self.seed_and_epoch[0], self.seed_and_epoch[1] = seed, epoch

    def transform(self, results: dict) -> dict:
        """Seed the generators and add ``epoch``."""
        seed, epoch = self.seed_and_epoch.tolist()
        if seed < 0:
            raise ValueError('SeedSample does not know the epoch: add '
                             "dict(type='amt_mm.EpochSeedHook') to "
                             'custom_hooks.')
        index = results['sample_idx']
        place = [seed, epoch, int(index)]
        if repeat := getattr(index, 'repeat', 0):
            place.append(repeat)
        np.random.seed(place)
        random.seed(' '.join(map(str, place)))
        results.update(sample_idx=int(index), epoch=epoch)
        return results
