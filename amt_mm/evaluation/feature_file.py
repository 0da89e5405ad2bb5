"""Features of unlabelled images in a file, with the names of the images.

Shape letters: N images, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from amt_mm.atomic_write import replacing

from .features import iterate_features


def readable_features(
        model: Any, loader: DataLoader, pool: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, list[int]]]:
    """Yield the features (B, ...) of each batch, and which images they are.

    Those that cannot be read are left out, and flagged in the ``unreadable``
    of the data set.

    Args:
        model (nn.Module): See :func:`extract_features`.
        loader (DataLoader): The images of an :class:`ImageFolder` in order.
        pool (Callable): See :func:`extract_features`.
    """
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

    One block is in memory at a time, and all names. The file appears when it
    is complete.

    Args:
        path (Path): The file, which is overwritten.
        blocks (Iterable): At least one pair of features (B, ...) float32 and
            the names of their B images.

    Returns:
        tuple[int, ...]: The shape (N, ...) of the features.
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
