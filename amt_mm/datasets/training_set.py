"""Access to the training set of a loader."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset

T = TypeVar('T')


class JoinedDataset(ConcatDataset):
    """Data sets one after the other, whose samples keep one index each."""

    data_root = ''  # the parts have their own

    def __init__(self, parts: Sequence[BaseDataset]) -> None:
        super().__init__(parts)
        self.parts = parts
        starts = [0, *self.cumulative_sizes]
        # mmengine's ``ConcatDataset`` leaves the index in the part
        for start, part in zip(starts, parts, strict=False):
            steps = part.pipeline.transforms
            steps[:] = [_Offset(start), *(step for step in steps
                                          if not isinstance(step, _Offset))]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return what is known of a sample."""
        return {**info_at(self.parts, idx), 'sample_idx': idx}


def info_at(parts: Sequence[BaseDataset], idx: int) -> dict[str, Any]:
    """Return what a part knows of a sample, by its index among all parts."""
    ends = ConcatDataset.cumsum(parts)
    number = bisect_right(ends, idx)
    return parts[number].get_data_info(idx - [0, *ends][number])


class _Offset:
    """Add to the index of a sample."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __call__(self, results: dict) -> dict:
        return {**results, 'sample_idx': results['sample_idx'] + self.start}


def unwrap(dataset: Any) -> BaseDataset | JoinedDataset:
    """Return the data set, or several joined, inside of wrappers."""
    inner = dataset
    while not isinstance(inner, (BaseDataset, JoinedDataset)):
        if hasattr(inner, 'datasets'):
            if not hasattr(inner, 'joined'):  # once, as it numbers samples
                inner.joined = JoinedDataset([*map(unwrap, inner.datasets)])
            return inner.joined
        name = next((n for n in ('dataset', '_dataset') if hasattr(inner, n)),
                    None)
        if name is None:
            raise ValueError(
                'train_dataloader.dataset must be an mmengine BaseDataset or '
                'a wrapper of some, so that each image has one saliency map; '
                f'got {type(dataset).__name__}.')
        inner = getattr(inner, name)
    return inner


def parts_of(dataset: Any) -> list[BaseDataset]:
    """List the data sets inside of wrappers."""
    inner = unwrap(dataset)
    return list(getattr(inner, 'parts', [inner]))


def find_transforms(dataset: Any, kind: type[T]) -> list[T]:
    """List the transforms of a class in the pipelines of a data set."""
    return [step for part in parts_of(dataset)
            for step in _walk(part.pipeline.transforms)
            if isinstance(step, kind)]


def _walk(steps: Any) -> Iterator[Any]:
    """Yield transforms and those inside of them, depth first."""
    for step in steps:
        yield step
        inner = getattr(step, 'transforms', ())
        yield from _walk(getattr(inner, 'transforms', inner))


def sample_paths(dataset: BaseDataset) -> Iterator[str]:
    """Yield the image paths in order, relative to ``data_root`` if below.

    A sample that holds its image, and has no path, goes by its pixels.
    """
    parts = getattr(dataset, 'parts', [dataset])
    for number, part in enumerate(parts):
        root = str(part.data_root or '')
        prefix = f'{number}/' if len(parts) > 1 else ''
        for index in range(len(part)):
            info = part.get_data_info(index)
            yield prefix + (
                relative_path(str(info['img_path']), root)
                if 'img_path' in info else
                hashlib.sha256(np.asarray(info['img']).tobytes()).hexdigest())


def relative_path(path: str, root: str) -> str:
    """Return a path from ``root`` on, or as it is if it is not below."""
    return path.removeprefix(root.rstrip('/') + '/' if root else '')
