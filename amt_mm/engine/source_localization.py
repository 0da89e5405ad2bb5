"""How well a source of saliency finds objects, without a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger

from amt_mm.datasets.training_set import find_transforms
from amt_mm.datasets.transforms import AMTMaskGenerator, SeedSample
from amt_mm.evaluation import (
    Localization,
    measure_localization,
    object_roles,
)
from amt_mm.saliency import SaliencyStore

from .hooks.saliency_update_hook import make_maps
from .sources import SaliencySource
from .whole_images import loader_in_order, whole_images


def localize_source(
        source: SaliencySource,
        dataset: BaseDataset,
        truths: Mapping[Path, np.ndarray],
        model: Any = None,
        batch_size: int = 64,
        num_workers: int = 0) -> tuple[Localization, dict[str, float]]:
    """Compare the maps of a source, and the plans drawn, with objects.

    ``truths`` are object masks (H, W) by image path; ``model`` is that of the
    run, where the source asks for it. Returned are how the maps, made as in a
    run, find the objects, and P(role|object) as :func:`object_roles` has it.
    """
    dataset = with_objects(dataset, truths)
    maps = connect_source(source, dataset, model, batch_size, num_workers)
    roles = object_roles(dataset, truths)
    masks = [truths[path_of(dataset, i)] for i in range(len(dataset))]
    return measure_localization(zip(maps, masks, strict=True)), roles


def connect_source(source: SaliencySource,
                   dataset: BaseDataset,
                   model: Any = None,
                   batch_size: int = 64,
                   num_workers: int = 0) -> np.ndarray:
    """Make the maps (N, h, w) of a data set, and let it draw plans by them."""
    grid = find_transforms(dataset, AMTMaskGenerator)[0].tokens
    run = SimpleNamespace(model=model, optim_wrapper=None, epoch=0,
                          logger=MMLogger.get_current_instance())
    source.setup(run, dataset, grid)
    loader = loader_in_order(
        whole_images(dataset, source.prepare), batch_size, num_workers)
    store: Any = SimpleNamespace(num_images=len(dataset), grid=grid)
    maps = make_maps(source, loader, store, is_writer=True).values
    store.read = maps.__getitem__  # from memory
    connect_store(dataset, store)
    return maps.astype(np.float32)


def with_objects(dataset: BaseDataset,
                 truths: Mapping[Path, np.ndarray]) -> BaseDataset:
    """Return the images of a data set that hold an object."""
    kept = [i for i in range(len(dataset))
            if truths.get(path_of(dataset, i), np.zeros(1)).any()]
    if not kept:
        raise ValueError(
            f'truths must hold masks of some of the {len(dataset)} images of '
            f'the data set, got {len(truths)} masks of others.')
    return dataset.get_subset(kept)


def path_of(dataset: BaseDataset, index: int) -> Path:
    """Return the path of an image of a data set."""
    return Path(dataset.get_data_info(index)['img_path'])


def connect_store(dataset: BaseDataset, store: SaliencyStore) -> None:
    """Let the pipeline of a data set draw plans from the maps of a store."""
    for generator in find_transforms(dataset, AMTMaskGenerator):
        generator.store = store
    for seeding in find_transforms(dataset, SeedSample):
        seeding.set(seed=0, epoch=0)
