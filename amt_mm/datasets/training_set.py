"""Access to the training set of a loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from mmengine.dataset import BaseDataset

T = TypeVar('T')


def unwrap(dataset: Any) -> BaseDataset:
    """Return the data set inside wrappers that keep its sample indices.

    Raises:
        ValueError: If the samples have no index of their own, as in mmengine's
            ``ConcatDataset``.
    """
    inner = dataset
    while not isinstance(inner, BaseDataset):
        name = next((n for n in ('dataset', '_dataset') if hasattr(inner, n)),
                    None)
        if name is None:
            raise ValueError(
                'train_dataloader.dataset must be one mmengine BaseDataset '
                '(or a RepeatDataset of one), so that each image has one '
                f'saliency map; got {type(dataset).__name__}. For '
                'several folders use ImageFolder(data_root=[...]) instead.')
        inner = getattr(inner, name)
    return inner


def find_transforms(dataset: Any, kind: type[T]) -> list[T]:
    """List the transforms of a class in a data set's pipeline."""
    steps = unwrap(dataset).pipeline.transforms
    return [step for step in _walk(steps) if isinstance(step, kind)]


def _walk(steps: Any) -> Iterator[Any]:
    """Yield transforms and those inside of them, depth first."""
    for step in steps:
        yield step
        inner = getattr(step, 'transforms', ())
        yield from _walk(getattr(inner, 'transforms', inner))


def sample_paths(dataset: BaseDataset) -> Iterator[str]:
    """Yield the image paths in order, relative to ``data_root`` if below."""
    root = str(dataset.data_root or '')
    for index in range(len(dataset)):
        yield relative_path(
            str(dataset.get_data_info(index)['img_path']), root)


def relative_path(path: str, root: str) -> str:
    """Return a path from ``root`` on, or as it is if it is not below."""
    return path.removeprefix(root.rstrip('/') + '/' if root else '')
