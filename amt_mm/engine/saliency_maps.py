"""Make the saliency map of every training image, uncropped.

Shape letters: N images, B batch, (h, w) token grid.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import RandomFlip
from mmengine.dataset import BaseDataset, Compose, DefaultSampler
from mmengine.dataset.utils import default_collate
from mmengine.dist import all_gather
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from amt_mm.datasets.training_set import JoinedDataset, find_transforms
from amt_mm.datasets.transforms import (
    LoadResizedCrop,
    RandomResizedCropWithBox,
    SeedSample,
)
from amt_mm.progress import progress
from amt_mm.saliency.store import SaliencyStore

from .sources import SaliencySource

Prepare = Callable[[dict], torch.Tensor]
CROPS = RandomResizedCropWithBox, LoadResizedCrop


class Maps(NamedTuple):
    """Saliency of a training set."""

    # (N, h, w) float16 in [0, 1]; (0, h, w) in a process that does not write
    values: np.ndarray
    # (N,) bool, whether a map is finite and not constant; the others are set
    # to zero, which counts as uniform
    is_informative: np.ndarray


def make_maps(source: SaliencySource, loader: DataLoader,
              store: SaliencyStore, is_writer: bool) -> Maps:
    """Make the maps of a loader's images on all processes together."""
    # only one process of a node writes, and needs the memory
    num_rows = store.num_images if is_writer else 0
    maps = Maps(
        np.zeros((num_rows, *store.grid), np.float16),
        np.zeros(store.num_images, bool))
    for sample_idx, saliency in progress(
            source.maps(loader), 'saliency maps', len(loader)):
        _check_grid(source, saliency, store.grid)
        index = torch.cat(all_gather(sample_idx)).numpy()
        saliency = torch.cat(all_gather(saliency.half().contiguous()))
        values, maps.is_informative[index] = zero_uninformative(
            saliency.cpu().numpy())
        if num_rows:
            maps.values[index] = values
    return maps


def zero_uninformative(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero the maps (B, h, w) that are not finite.

    Returns:
        tuple: The maps, and (B,) bool, which of them are not all zero.
    """
    finite = np.isfinite(maps).all((1, 2))
    is_informative = finite & (np.nan_to_num(maps).max((1, 2)) > 0)
    return np.where(is_informative[:, None, None], maps, 0), is_informative


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


def whole_images(dataset: BaseDataset,
                 prepare: Prepare = SaliencySource.prepare) -> BaseDataset:
    """Return the data set with uncropped images, resized as its crops are.

    The transforms before the crop stay, those after it are left out. The list
    of samples is shared, not copied. ``prepare`` makes the ``inputs``.

    Raises:
        ValueError: If the pipeline has none of ``CROPS``, or flips more than
            once.
    """
    if isinstance(dataset, JoinedDataset):
        return JoinedDataset([whole_images(part, prepare)
                              for part in dataset.parts])
    steps = dataset.pipeline.transforms
    is_crop = [isinstance(step, CROPS) for step in steps]
    if not any(is_crop):
        raise ValueError(
            'the train pipeline must crop with dict(type='
            "'amt_mm.RandomResizedCropWithBox') or "
            "'amt_mm.LoadResizedCrop' at its top level, got "
            f'{[type(step).__name__ for step in steps]}.')
    if len(find_transforms(dataset, RandomFlip)) > 1:
        raise ValueError(
            'the train pipeline must flip at most once, since mmcv remembers '
            f'the last flip only; got '
            f'{[type(step).__name__ for step in steps]}.')
    index = is_crop.index(True)
    before = [s for s in steps[:index] if not isinstance(s, SeedSample)]
    plain = copy.copy(dataset)
    plain.pipeline = Compose([*before, steps[index].uncropped(),
                              partial(_pack, prepare)])
    return plain


def _pack(prepare: Prepare, results: dict) -> dict:
    return dict(inputs=prepare(results), sample_idx=results['sample_idx'])


def _check_grid(source: SaliencySource, saliency: torch.Tensor,
                grid: tuple[int, int]) -> None:
    if tuple(saliency.shape[1:]) != grid:
        raise ValueError(
            'input_size and patch_size of AMTMaskGenerator, and the scale of '
            'the crop, must give the grid of the maps of '
            f'{type(source).__name__}, '
            f'{tuple(saliency.shape[1:])}, got {grid}.')
