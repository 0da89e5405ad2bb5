"""Maps without a model: of pixels, of a folder, or to compare with.

Shape letters: B batch, (h, w) token grid.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from PIL import Image, ImageOps
from torch import Tensor

from amt_mm.arguments import (
    check_choice,
    check_int,
    check_number,
    check_str,
)
from amt_mm.datasets.training_set import relative_path, sample_paths
from amt_mm.datasets.transforms.load_image import (
    check_file,
    check_image,
    printable,
)
from amt_mm.evaluation import masks_from_boxes
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.geometry import crop_map
from amt_mm.saliency.pixels import (
    PIXEL_METHODS,
    centre_prior,
    pixel_saliency,
)

from .model_saliency import SaliencySource

# of a map: half of what an image may have, as float64 takes its room
MAX_VALUES = 89_478_485
SUFFIXES = ('.png', '.jpg', '.npy')


class WorkerSaliency(SaliencySource):
    """Maps (h, w) that ``prepare`` makes in the loader's workers."""

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the maps as the workers made them."""
        for batch in loader:
            yield batch['sample_idx'], batch['inputs']


@SALIENCY_SOURCES.register_module()
class PixelSaliency(WorkerSaliency):
    """Maps from the pixels of each image, without a model, made once.

    The loader's workers make them, in about a millisecond an image. Three
    channels are compared as Lab colours, any other number as they are.

    Args:
        method (str): ``'rbd'``, robust background detection (Zhu et al.,
            CVPR 2014): contrast to what is connected to the border;
            ``'geodesic'``, the geodesic distance to the border (Wei et al.,
            ECCV 2012); or ``'detail'``, the spread of the pixels of a patch.
            Defaults to ``'rbd'``.
        centre_weight (float): Exponent of a weak centre prior, a Gaussian of
            half the side; 0 leaves it out. Defaults to 1.
    """

    def __init__(self, method: str = 'rbd', centre_weight: float = 1.) -> None:
        self.method = check_choice('method', method, PIXEL_METHODS)
        self.centre_weight = check_number('centre_weight', centre_weight,
                                          '[0, inf)')

    def prepare(self, results: dict) -> Tensor:  # type: ignore[override]
        """Make the map of a sample, in a worker, as (h, w) in [0, 1]."""
        return torch.from_numpy(pixel_saliency(
            results['img'], self.grid, self.method, self.centre_weight))


@SALIENCY_SOURCES.register_module()
class FolderSaliency(WorkerSaliency):
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

    knows_any_image = False

    def __init__(self, root: str) -> None:
        if not os.path.isdir(check_str('root', root)):
            raise FileNotFoundError('root of FolderSaliency must be a folder, '
                                    f'got {root!r}, which is not a folder.')
        self.root = Path(root)

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Check that each image has one map, before any is read."""
        super().setup(runner, dataset, grid)
        self.data_root = str(dataset.data_root or '')
        check_names(self.root, Path(self.data_root),
                    list(sample_paths(dataset)))

    def prepare(self, results: dict) -> Tensor:  # type: ignore[override]
        """Read the map of a sample, in a worker, as (h, w) in [0, 1]."""
        image = Path(results['img_path'])
        name = relative_path(str(image), self.data_root)
        path = next((p for p in _candidates(self.root / name, image)
                     if os.path.lexists(p)), None)
        if path is None:
            raise FileNotFoundError(
                f'the saliency map of {printable(image)} is gone from '
                f'{printable(self.root)}.')
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(
                f'the saliency map {printable(path)} must lie below '
                f'{printable(self.root)}, got a link to '
                f'{printable(path.resolve())}.')
        whole = read_map(path)
        (h, w), (height, width) = whole.shape, results['ori_shape']
        # both sides may be rounded by less than one
        same_aspect = abs(w * height - h * width) < height + width
        large_enough = h >= self.grid[0] and w >= self.grid[1]
        if (h, w) != tuple(self.grid) and not (same_aspect and large_enough):
            raise ValueError(
                f'the saliency map {printable(path)} must have the shape of '
                f'its image {(height, width)}, at any scale down to the '
                f'tokens {tuple(self.grid)}, got {(h, w)}.')
        summed = crop_map(whole, size=self.grid)
        return torch.from_numpy(summed / max(summed.max(), 1e-12)).float()


def check_names(root: Path, data_root: Path, images: list[str]) -> None:
    """Raise an error unless a folder holds one map for each image."""
    found = {os.path.join(folder, name)
             for folder, _, names in os.walk(root) for name in names}
    seen: dict[Path, str] = {}
    missing = []
    for image in images:
        if os.path.isabs(image):
            raise ValueError('FolderSaliency pairs files by their path below '
                             f'data_root {data_root}, got '
                             f'{printable(image)}.')
        stem = (root / image).with_suffix('')
        if stem in seen:
            raise ValueError(
                f'the images {printable(seen[stem])} and {printable(image)} '
                f'would have one saliency map: {printable(stem)}.*')
        seen[stem] = image
        held = [p for p in _candidates(root / image, data_root / image)
                if str(p) in found]
        if len(held) > 1:
            raise ValueError(f'{printable(image)} must have one saliency map, '
                             f'got {" and ".join(map(printable, held))}.')
        if not held:
            missing.append(stem)
    if missing:
        strange = sorted(p for p in found
                         if Path(p).with_suffix('') not in seen)
        hint = f', and {len(strange)} files fit no image, such as ' \
            f'{printable(strange[0])}' if strange else ''
        raise FileNotFoundError(
            f'{len(missing)} of {len(images)} images have no saliency map '
            f'below {root}: expected {printable(missing[0])} with the ending '
            f'{", ".join(SUFFIXES)}{hint}.')


def _candidates(path: Path, image: Path) -> list[Path]:
    """List what may be the map of an image, but for the image itself."""
    paths = [path.with_suffix(suffix) for suffix in SUFFIXES]
    return [p for p in paths if p != image]


def read_map(path: Path) -> np.ndarray:
    """Read a 2-d map of finite, not negative numbers as float64."""
    try:
        check_file(path, MAX_VALUES)
        if path.suffix == '.npy':
            # of a length that makes no sense; a map into memory allocates
            # nothing for its header
            with np.errstate(over='ignore'):
                found = np.lib.format.open_memmap(path, mode='r')
        else:
            found = _read_picture(path.read_bytes())
        if found.ndim != 2 or found.dtype.kind not in 'buif':
            raise ValueError('it must be grey (h, w), got shape '
                             f'{found.shape} of {found.dtype}')
        if found.size > MAX_VALUES:
            raise ValueError(f'it must have at most {MAX_VALUES:,} values, '
                             f'got shape {found.shape}')
        found = found.astype(np.float64)
        if not (np.isfinite(found).all() and (found >= 0).all()):
            raise ValueError('it must be finite and >= 0, got values in '
                             f'[{found.min()}, {found.max()}]')
    except (OSError, ValueError, EOFError, SyntaxError,
            OverflowError) as error:
        raise ValueError(f'cannot read the saliency map {printable(path)}: '
                         f'{printable(str(error))}') from error
    return found


def _read_picture(content: bytes) -> np.ndarray:
    """Decode a picture; one of three equal channels is grey."""
    check_image(content, MAX_VALUES)
    with Image.open(io.BytesIO(content)) as image:
        # what a palette holds are no levels
        shown = image.convert('RGB') if image.mode == 'P' else image
        found = np.asarray(ImageOps.exif_transpose(shown))
    if shown.mode == 'RGB' and not np.ptp(found, axis=2).any():
        return found[..., 0]
    return found


class ControlSaliency(SaliencySource):
    """Maps that depend on the index of an image, and not on its pixels."""

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the map of each image."""
        for batch in loader:
            index = batch['sample_idx']
            yield index, torch.stack([self.map_of(int(i)) for i in index])

    def map_of(self, index: int) -> Tensor:
        """Return the map (h, w) of an image of the training set."""
        raise NotImplementedError


@SALIENCY_SOURCES.register_module()
class CentreSaliency(ControlSaliency):
    """The same Gaussian at the centre of every image."""

    def map_of(self, index: int) -> Tensor:
        """Return the same map for all."""
        return torch.from_numpy(centre_prior(*self.grid).copy())


@SALIENCY_SOURCES.register_module()
class RandomSaliency(ControlSaliency):
    """Uniform noise: one fixed map for each image.

    Args:
        seed (int): Of the noise. Defaults to 0.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_int('seed', seed, 0)

    def map_of(self, index: int) -> Tensor:
        """Draw the map of an image, the same each time."""
        noise = np.random.default_rng((self.seed, index)).random(self.grid)
        return torch.from_numpy(noise.astype(np.float32))


@SALIENCY_SOURCES.register_module()
class BoxSaliency(ControlSaliency):
    """The true boxes of the objects: what the best saliency could be.

    A token weighs 1 inside of a box and ``outside`` beyond, in proportion
    where an edge crosses it; without a box, the map is uniform.

    Args:
        ann_file (str): Lines of ``PATH XMIN YMIN XMAX YMAX``, in pixels of
            the image, the path as it is below the data_root.
        outside (float): Weight beyond the boxes, in [0, 1).
            Defaults to 0.05.
    """

    knows_any_image = False

    def __init__(self, ann_file: str, outside: float = 0.05) -> None:
        self.ann_file = check_str('ann_file', ann_file)
        self.outside = check_number('outside', outside, '[0, 1)')

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Read the boxes of all images."""
        super().setup(runner, dataset, grid)
        root = Path(str(dataset.data_root or ''))
        self.paths = [str(root / path) for path in sample_paths(dataset)]
        self.inside = {
            str(path): F.adaptive_avg_pool2d(
                torch.from_numpy(mask)[None].float(), grid)[0]
            for path, mask in masks_from_boxes(
                root, Path(self.ann_file)).items()
        }
        if not any(path in self.inside for path in self.paths):
            raise ValueError(
                'ann_file of BoxSaliency must have boxes of the images, such '
                f'as {self.paths[0]}, got none in {self.ann_file}.')

    def map_of(self, index: int) -> Tensor:
        """Return how far each token is inside of a box."""
        inside = self.inside.get(self.paths[index], torch.ones(self.grid))
        return self.outside + (1 - self.outside) * inside
