"""Features of images, their labels where they have one, and a file of them.

Shape letters: N images, B batch, L = h * w patch tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather
from torch import Tensor
from torch.utils.data import DataLoader

from amt_mm.arguments import check_choice
from amt_mm.atomic_write import replacing
from amt_mm.progress import progress

POOLS = 'cls', 'mean', 'map'


def class_token(tokens: Tensor) -> Tensor:
    """Return the class token (B, D) of tokens (B, 1 + L, D), or (B, D)."""
    return tokens[:, 0] if tokens.ndim == 3 else tokens


def mean_of_patches(tokens: Tensor) -> Tensor:
    """Return the mean (B, D) of the patch tokens, or features (B, D)."""
    return tokens[:, 1:].mean(1) if tokens.ndim == 3 else tokens


def class_token_and_mean(tokens: Tensor) -> Tensor:
    """Return class token and mean of the patches, (B, F, D)."""
    pools = (class_token, mean_of_patches)[:tokens.ndim - 1]
    return torch.stack([pool(tokens) for pool in pools], 1)


def patch_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the patch tokens of tokens (B, 1 + L, D) as (B, D, h, w)."""
    return tokens[:, 1:].mT.unflatten(2, grid)


def pool_of(name: str, model: Any) -> Callable[[Tensor], Tensor]:
    """Return what pools the tokens of a model: 'cls', 'mean' or 'map'."""
    check_choice('pool', name, POOLS)
    if name == 'map':
        return partial(patch_map, grid=model.backbone.patch_resolution)
    return dict(cls=class_token, mean=mean_of_patches)[name]


def extract_features(
        model: Any, loader: DataLoader,
        pool: Callable[[Tensor], Tensor] = class_token) -> Tensor:
    """Return the features of a data set (N, ...), float32, in its order.

    In a distributed run each process encodes its share, and all get all; the
    loader samples by ``DefaultSampler(shuffle=False)`` and drops nothing.
    """
    features = torch.cat([*iterate_features(model, loader, pool)])
    return gather_in_order(features, len(loader.dataset))  # type: ignore


def gather_in_order(rows: Tensor, number: int) -> Tensor:
    """Gather samples r, r + R, r + 2 R, ... of each rank r of R."""
    return torch.stack(all_gather(rows), 1).flatten(0, 1)[:number]


@torch.no_grad()
def iterate_features(model: Any, loader: DataLoader,
                     pool: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """Yield the features (B, ...) of each batch, float32, on the CPU."""
    was_training = model.training
    model.eval()
    for batch in progress(loader, 'features'):
        data = dict(inputs=batch['inputs'], data_samples=None)
        images = model.data_preprocessor(data)['inputs']
        yield pool(model.extract_feat(images)[-1]).float().cpu()
    model.train(was_training)


def labels_of(dataset: BaseDataset) -> Tensor:
    """Return the class of every image (N,), int64, or raise ValueError."""
    labels = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        label = info.get('gt_label')
        if not isinstance(label, (int, np.integer)) or label < 0:
            raise ValueError(
                f'each image of {type(dataset).__name__} must have one class, '
                f'gt_label >= 0; {info.get("img_path")} has {label!r}.')
        labels.append(int(label))
    return torch.tensor(labels)


def draw_subsets(dataset: BaseDataset, *sizes: int) -> list[BaseDataset]:
    """Draw disjoint subsets of a data set, the same in every run."""
    # drawn, for the classes of a list may come in any regular order
    order = np.random.default_rng(0).permutation(len(dataset))
    parts = np.split(order, np.cumsum(sizes))[:-1]
    return [dataset.get_subset(sorted(part.tolist())) for part in parts]


def readable_features(
        model: Any, loader: DataLoader, pool: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, list[int]]]:
    """Yield the features (B, ...) and indices of readable images."""
    start = 0
    for features in iterate_features(model, loader, pool):
        index = torch.arange(start, start + len(features))
        # another image stands in their place
        keep = ~loader.dataset.unreadable[index]  # type: ignore[attr-defined]
        yield features[keep], index[keep].tolist()
        start += len(features)


def write_features(path: Path, blocks: Iterable[tuple[Tensor, Sequence[str]]]
                   ) -> tuple[int, ...]:
    """Write ``features`` and ``names`` to an ``.npz`` file, block by block.

    The blocks are features (B, ...) float32 and the names of their B images.
    The file appears when it is complete. Returned is the shape (N, ...).
    """
    names: list[str] = []
    # how many there are is known at the end, and must stand at the beginning
    with TemporaryFile(dir=path.parent) as rows:
        for features, own in blocks:
            rows.write(features.numpy().tobytes())
            names += own
        rows.flush()
        shape = (len(names), *features.shape[1:])
        stored = np.memmap(rows, np.float32, 'r', shape=shape)
        with replacing(path) as file:
            np.savez(file, features=stored, names=np.array(names))
    return shape
