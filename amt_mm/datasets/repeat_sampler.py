"""Repeated augmentation: several crops of an image in one batch."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import torch
from mmengine.dataset import BaseDataset, DefaultSampler

from amt_mm.arguments import check_int
from amt_mm.registry import DATA_SAMPLERS


class RepeatedIndex(int):
    """The index of a sample that also knows which repeat it is, from 0."""

    repeat: int

    def __new__(cls, index: int, repeat: int) -> RepeatedIndex:
        made = super().__new__(cls, index)
        made.repeat = repeat
        return made

    def __reduce__(self) -> tuple:
        return RepeatedIndex, (int(self), self.repeat)


@DATA_SAMPLERS.register_module()
class RepeatSampler(DefaultSampler):
    """Ask for each image several times in a row, for crops of their own.

    With ``LoadImage(keep_last=True)`` an image is then decoded once
    for ``num_repeats`` samples, which a loader with a ``batch_size`` that it
    divides has in one batch. An epoch keeps its length: it shows one of
    ``num_repeats`` parts of the shuffled images, and as many epochs show each
    image equally often. Source: `Augment Your Batch
    <https://arxiv.org/abs/1901.09335>`_; the crops of an image differ with
    ``SeedSample`` or without.

    Args:
        dataset (BaseDataset): The training set, in no wrapper.
        num_repeats (int): How often an epoch asks for an image.
            Defaults to 2.
        **kwargs: Those of :class:`mmengine.dataset.DefaultSampler`.

    Raises:
        TypeError: If the data set is a wrapper, which would lose the repeat.
    """

    def __init__(self,
                 dataset: BaseDataset,
                 num_repeats: int = 2,
                 **kwargs: Any) -> None:
        if not isinstance(dataset, BaseDataset):
            raise TypeError('dataset of RepeatSampler must be an mmengine '
                            f'BaseDataset, got {type(dataset).__name__}.')
        super().__init__(dataset, **kwargs)
        self.num_repeats = check_int('num_repeats', num_repeats, 1)

    def __iter__(self) -> Iterator[int]:
        """Yield ``len(self)`` indices, repeats next to each other."""
        images = self._images()
        share = ceil(len(images) / self.world_size)
        start = self.rank * ceil(share / self.num_repeats)
        for i in range(self.num_samples):
            number, repeat = divmod(i, self.num_repeats)
            yield RepeatedIndex(images[(start + number) % len(images)], repeat)

    def _images(self) -> list[int]:
        """List all images, those of this epoch's part first."""
        cycle, part = divmod(self.epoch, self.num_repeats)
        num_images = len(self.dataset)
        images = torch.arange(num_images)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + cycle)
            images = torch.randperm(num_images, generator=generator)
        start = part * num_images // self.num_repeats
        return images.roll(-start).tolist()
