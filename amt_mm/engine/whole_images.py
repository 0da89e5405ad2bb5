"""Load the images of a training set uncropped, each once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmcv.transforms import RandomFlip
from mmengine.dataset import BaseDataset, Compose, DefaultSampler
from mmengine.dataset.utils import default_collate
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from amt_mm.datasets.training_set import JoinedDataset, find_transforms
from amt_mm.datasets.transforms import (
    LoadResizedCrop,
    RandomResizedCropWithBox,
    SeedSample,
)

from .sources import SaliencySource

CROPS = RandomResizedCropWithBox, LoadResizedCrop


def whole_images(
        dataset: BaseDataset,
        prepare: Callable[[dict], Any] = SaliencySource.prepare
) -> BaseDataset:
    """Return the data set with uncropped images, resized as its crops are.

    The transforms before the crop stay, those after it are left out. The list
    of samples is shared, not copied. ``prepare`` makes the ``inputs``. Raises
    ValueError if the pipeline has none of ``CROPS``, or flips more than once.
    """
    if isinstance(dataset, JoinedDataset):
        return JoinedDataset([whole_images(part, prepare)
                              for part in dataset.parts])
    steps = dataset.pipeline.transforms
    names = [type(step).__name__ for step in steps]
    is_crop = [isinstance(step, CROPS) for step in steps]
    if not any(is_crop):
        raise ValueError(
            'the train pipeline must crop with dict(type='
            "'amt_mm.RandomResizedCropWithBox') or "
            f"'amt_mm.LoadResizedCrop' at its top level, got {names}.")
    if len(find_transforms(dataset, RandomFlip)) > 1:
        raise ValueError(
            'the train pipeline must flip at most once, since mmcv remembers '
            f'the last flip only; got {names}.')
    index = is_crop.index(True)
    before = [s for s in steps[:index] if not isinstance(s, SeedSample)]
    plain = copy.copy(dataset)
    plain.pipeline = Compose([*before, steps[index].uncropped(),
                              partial(_pack, prepare)])
    return plain


def _pack(prepare: Callable[[dict], Any], results: dict) -> dict:
    return dict(inputs=prepare(results), sample_idx=results['sample_idx'])


def loader_like_training(runner: Runner, dataset: BaseDataset,
                         batch_size: int | None,
                         num_workers: int | None) -> DataLoader:
    """Load a data set once, in its order, as the run loads its own.

    A number that is None is that of the training loader.
    """
    train = runner.train_dataloader
    if num_workers is None:
        num_workers = train.num_workers
    return loader_in_order(
        dataset, batch_size or train.batch_size, num_workers,
        train.multiprocessing_context if num_workers else None)


def loader_in_order(dataset: BaseDataset, batch_size: int, num_workers: int,
                    context: Any = None) -> DataLoader:
    """Load a data set once, in its order, split over the processes."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=DefaultSampler(dataset, shuffle=False, seed=0),
        num_workers=num_workers,
        collate_fn=default_collate,
        multiprocessing_context=context,
        # a generator of its own: training's random numbers stay the same
        generator=torch.Generator())
