"""Ready-made saliency images: the user's own prior.

Shape letters: B batch, (h, w) token grid.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from PIL import Image, ImageOps
from torch import Tensor

from amt_mm.arguments import check_str
from amt_mm.datasets.training_set import relative_path, sample_paths
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.geometry import crop_map

from .saliency_source import SaliencySource

SUFFIXES = ('.png', '.jpg', '.npy')


@SALIENCY_SOURCES.register_module()
class FolderSaliency(SaliencySource):
    """Maps that lie in a folder, read once.

    The map of ``data_root/a/b.jpeg`` is ``root/a/b`` with one of the endings
    ``.png``, ``.jpg`` and ``.npy``. It is grey or a 2-d array, not negative,
    and either has the shape of its image (as displayed, at any scale, each
    side rounded) and at least one value a token, or is the token grid itself.
    It is averaged over each token and divided by its greatest value, so what
    counts are the ratios within an image; zeros alone mean no preference.

    Args:
        root (str): The folder.

    Raises:
        FileNotFoundError: If there is no such folder, or images have no map.
        ValueError: If two images have one map or an image has two, or if a
            map cannot be used; the message names the file.
    """

    def __init__(self, root: str) -> None:
        if not os.path.isdir(check_str('root', root)):
            raise FileNotFoundError('root of FolderSaliency must be a folder, '
                                    f'got {root!r}, which is none.')
        self.root = Path(root)

    def connect(self, runner: Runner, dataset: BaseDataset,
                grid: tuple[int, int]) -> None:
        """Check that each image has one map, before any is read."""
        self.grid = grid
        self.data_root = str(dataset.data_root or '')
        check_names(self.root, Path(self.data_root),
                    list(sample_paths(dataset)))

    def prepare(self, results: dict) -> Tensor:  # type: ignore[override]
        """Read the map of a sample, in a worker, as (h, w) in [0, 1]."""
        image = Path(results['img_path'])
        name = relative_path(str(image), self.data_root)
        path = next(p for p in _candidates(self.root / name)
                    if p.is_file() and p != image)
        whole = read_map(path)
        check_shape(path, whole.shape, results['ori_shape'], self.grid)
        summed = crop_map(whole, size=self.grid)
        return torch.from_numpy(summed / max(summed.max(), 1e-12)).float()

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the maps that the workers read."""
        for batch in loader:
            yield batch['sample_idx'], batch['inputs']


def check_names(root: Path, data_root: Path, images: list[str]) -> None:
    """Refuse a folder that does not hold one map for each image."""
    found = {
        os.path.join(folder, name)
        for folder, _, names in os.walk(root) for name in names
    }
    seen: dict[Path, str] = {}
    missing = []
    for image in images:
        if os.path.isabs(image):
            raise ValueError('FolderSaliency pairs files by their path below '
                             f'data_root {data_root}, got {image}.')
        stem = (root / image).with_suffix('')
        if stem in seen:
            raise ValueError(f'the images {seen[stem]} and {image} would have '
                             f'one saliency map: {stem}.*')
        seen[stem] = image
        held = [p for p in _candidates(root / image)
                if str(p) in found and p != data_root / image]
        if len(held) > 1:
            raise ValueError(f'{image} must have one saliency map, got '
                             f'{" and ".join(map(str, held))}.')
        if not held:
            missing.append(stem)
    if missing:
        strange = sorted(p for p in found
                         if Path(p).with_suffix('') not in seen)
        hint = f', and {len(strange)} files fit no image, such as ' \
            f'{strange[0]}' if strange else ''
        raise FileNotFoundError(
            f'{len(missing)} of {len(images)} images have no saliency map '
            f'below {root}: expected {missing[0]} with the ending '
            f'{", ".join(SUFFIXES)}{hint}.')


def read_map(path: Path) -> np.ndarray:
    """Read a 2-d map of finite, not negative numbers as float64."""
    try:
        if path.suffix == '.npy':
            found = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                found = np.asarray(ImageOps.exif_transpose(image))
                # a grey picture may be stored in three equal channels
                if image.mode == 'RGB' and not np.ptp(found, axis=2).any():
                    found = found[..., 0]
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise ValueError(
            f'cannot read the saliency map {path}: {error}') from error
    if found.ndim != 2 or found.dtype.kind not in 'buif':
        raise ValueError(f'the saliency map {path} must be grey (h, w), got '
                         f'shape {found.shape} of {found.dtype}.')
    found = found.astype(np.float64)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(f'the saliency map {path} must be finite and >= 0, '
                         f'got values in [{found.min()}, {found.max()}].')
    return found


def check_shape(path: Path, shape: tuple[int, ...], image: tuple[int, int],
                grid: tuple[int, int]) -> None:
    """Refuse a map that has neither its image's shape nor the grid's."""
    h, w = shape
    # both sides may be rounded by less than one
    same_aspect = abs(w * image[0] - h * image[1]) < sum(image)
    large_enough = h >= grid[0] and w >= grid[1]
    if (h, w) != tuple(grid) and not (same_aspect and large_enough):
        raise ValueError(
            f'the saliency map {path} must have the shape of its image '
            f'{tuple(image)}, at any scale down to the tokens {tuple(grid)}, '
            f'got {(h, w)}.')


def _candidates(path: Path) -> list[Path]:
    return [path.with_suffix(suffix) for suffix in SUFFIXES]
