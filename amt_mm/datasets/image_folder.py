"""Any folder of images, without labels."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from amt_mm.arguments import check_choice, check_int
from amt_mm.registry import DATASETS

from .transforms.load_image import LoadImage, UnreadableImageError, printable

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.pgm',
              '.tif', '.tiff')
# of pictures that a user may expect to be taken
PICTURES = ('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.bmp', '.ppm', '.pgm',
            '.pbm', '.tif', '.tiff', '.gif', '.avif', '.heic', '.heif', '.jp2',
            '.jxl', '.dng', '.cr2', '.nef', '.arw', '.psd', '.svg')
ON_UNREADABLE = ('skip', 'raise')
MAX_FAILURES = 100
NUM_IMAGES = 8
NUM_FILES = 32


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """All images below a folder, however nested, without labels.

    Args:
        data_root (str | Sequence[str]): The folder, or several: their images
            in the order, and by the names, of one folder that holds them.
        on_unreadable (str): What a file that cannot be decoded does:
            ``'skip'`` puts another sample in its place and flags it in
            ``unreadable``, which ``UnreadableImagesHook`` reports;
            ``'raise'`` stops the run. Defaults to ``'skip'``.
        extensions (Sequence[str]): File names to take, in any case.
            Defaults to :data:`EXTENSIONS`, which leaves out ``'.gif'`` and
            ``'.avif'``; :class:`LoadImage` reads them as well.
        num_heldout (int): How many of the images, evenly spread, are kept
            back from training, for :class:`CheckupHook`. Defaults to 0.
        **kwargs: Those of :class:`mmpretrain.datasets.CustomDataset`.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If ``ann_file`` lists what is not below the folder, one
            folder lies in another, or ``num_heldout`` leaves no image.
    """

    def __init__(self,
                 data_root: str | Sequence[str] = '',
                 on_unreadable: str = 'skip',
                 extensions: Sequence[str] = EXTENSIONS,
                 num_heldout: int = 0,
                 **kwargs: Any) -> None:
        self.num_heldout = check_int('num_heldout', num_heldout, 0)
        self.on_unreadable = check_choice('on_unreadable', on_unreadable,
                                          ON_UNREADABLE)
        if not isinstance(extensions, (list, tuple)) or not all(
                isinstance(ending, str) for ending in extensions):
            raise TypeError('extensions must be a sequence of strings, got '
                            f'{extensions!r}.')
        roots = data_root if isinstance(data_root, (list, tuple)) \
            else [data_root]
        for root in roots or ['']:
            if not (isinstance(root, str) and os.path.isdir(root)):
                raise FileNotFoundError(
                    f'data_root must be a folder of images, got {root!r}, '
                    'which is not a folder.')
        self.roots = [*map(os.path.normpath, roots)]
        super().__init__(
            data_root=roots[0] if len(roots) == 1 else _common_folder(
                self.roots, kwargs),
            with_label=False, extensions=extensions, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images in a fixed order."""
        if self.ann_file:
            names = read_names(self.ann_file, self.data_root, self.img_prefix)
        else:
            names = self._find_samples()
        if not names:
            raise FileNotFoundError(f'ann_file {self.ann_file!r} lists no '
                                    'image.')
        return [dict(img_path=os.path.join(self.img_prefix, name))
                for name in names]

    def filter_data(self) -> list[dict]:
        """Leave out the images that are kept back."""
        check_int('num_heldout', self.num_heldout, 0, len(self.data_list) - 1)
        indices = {*np.linspace(0, len(self.data_list) - 1,
                                self.num_heldout + 2)[1:-1].astype(int)}
        self._heldout = [self.data_list[i] for i in sorted(indices)]
        return [image for i, image in enumerate(self.data_list)
                if i not in indices]

    def held_out(self) -> ImageFolder:
        """Return the images that are kept back, as a data set."""
        self.full_init()
        other = copy(self)
        other.data_list = [*self._heldout]
        if self.serialize_data:
            other.data_bytes, other.data_address = other._serialize_data()
        other.unreadable = torch.zeros(len(other), dtype=torch.bool)
        return other

    def _find_samples(self) -> list[str]:
        """List the images below the folder, and warn of those left out."""
        files = [*walk_files(self.img_prefix)] if len(self.roots) == 1 else [
            os.path.relpath(os.path.join(root, name), self.img_prefix)
            for root in self.roots for name in walk_files(root)]
        names = sorted(filter(self.is_valid_file, files))
        if not names:
            raise FileNotFoundError(
                f'data_root {self.data_root!r} holds no image: no file below '
                f'it ends in {sorted(self.extensions)}, its extensions.')
        endings = Counter(
            path.suffix.lower() for path in map(Path, {*files} - {*names})
            if not path.name.startswith('.'))
        if left_out := [f'{endings[e]:,} {e}' for e in PICTURES if endings[e]]:
            warn(f'pictures of {printable(self.img_prefix)} left out: '
                 f'{", ".join(left_out)}. To take them, name their endings in '
                 'extensions.')
        return names

    def is_valid_file(self, filename: str) -> bool:
        """Take images by their ending, but none that is hidden."""
        hidden = any(part.startswith('.') for part in filename.split(os.sep))
        return super().is_valid_file(filename) and not hidden

    def full_init(self) -> None:
        """List the images and share the flags of the unreadable ones."""
        if self._fully_initialized:
            return
        super().full_init()
        # one flag a sample, seen by all workers under fork and spawn
        self.unreadable = torch.zeros(len(self), dtype=torch.bool)
        self.unreadable.share_memory_()
        self.failures_in_a_row = 0
        log_levels(self)
        log_contents(self)

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline; None asks mmengine for another sample."""
        try:
            sample = super().prepare_data(idx)
        except UnreadableImageError as error:
            if self.on_unreadable == 'raise':
                raise
            self.unreadable[idx] = True
            self.failures_in_a_row += 1
            if self.failures_in_a_row >= MAX_FAILURES:
                raise UnreadableImageError(
                    'no readable image found in '
                    f'{printable(self.data_root)} after {MAX_FAILURES} tries; '
                    f'the last: {error}') from error
            return None
        # a pipeline gives None for a crop without data
        self.failures_in_a_row = self.failures_in_a_row + 1 \
            if sample is None else 0
        return sample

    def _rand_another(self) -> int:
        """Draw the sample that takes the place of one that failed."""
        # seeded anew for each sample, one draw would depend on nothing else,
        # and two unreadable samples could name each other for ever
        tries = max(1, self.failures_in_a_row)
        return int(np.random.randint(len(self), size=tries)[-1])


def warn(message: str) -> None:
    """Write a warning to the log of the run."""
    print_log(message, logger='current', level=logging.WARNING)


def _common_folder(roots: Sequence[str], kwargs: dict[str, Any]) -> str:
    """Return the folder that holds all roots, none of which holds another."""
    if others := [key for key in ('ann_file', 'data_prefix')
                  if kwargs.get(key)]:
        raise ValueError(f'{others[0]} must be empty for several data_root, '
                         f'got {kwargs[others[0]]!r}.')
    paths = sorted(Path(root).resolve() for root in roots)
    for path, other in pairwise(paths):
        if other.is_relative_to(path):
            raise ValueError('data_root must name folders that do not hold '
                             f'each other, got {path} and {other}.')
    return os.path.commonpath([os.path.abspath(root) for root in roots])


def walk_files(root: str) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it."""

    def stop(error: OSError) -> None:
        raise error

    # links are followed; what is no regular file is found when it is read
    for folder, folders, names in os.walk(root, onerror=stop,
                                          followlinks=True):
        for link in (Path(folder, name) for name in folders):
            if link.is_symlink() and link.resolve() in {
                    parent.resolve() for parent in link.absolute().parents}:
                raise ValueError(
                    f'the link {printable(link)} leads to a folder that it '
                    'lies in, so its images would be listed without end.')
        below = os.path.relpath(folder, root)
        for name in names:
            yield os.path.normpath(os.path.join(below, name))


def read_names(ann_file: str, data_root: str, prefix: str) -> list[str]:
    """Read the paths of images below ``data_root``, one a line, none blank."""
    try:
        lines: Sequence[str] = list_from_file(ann_file)
    except UnicodeDecodeError as error:
        raise ValueError(f'ann_file must be UTF-8, got {printable(ann_file)}: '
                         f'{error}') from error
    root = os.path.abspath(data_root)
    for number, name in enumerate(lines, 1):
        path = os.path.abspath(os.path.join(prefix, name))
        if os.path.commonpath((path, root)) != root:
            raise ValueError(
                f'line {number} of ann_file {printable(ann_file)} must be '
                f'below data_root {printable(root)}, got {printable(name)}')
    return [name for name in lines if name.strip()]


def log_levels(dataset: BaseDataset) -> None:
    """Warn if the first images would be too dark, or clipped."""
    paths = [dataset.get_data_info(index)['img_path']
             for index in range(min(NUM_IMAGES, len(dataset)))]
    for number, step in enumerate(dataset.pipeline.transforms):
        if not isinstance(step, LoadImage) or step.all_channels:
            continue
        found = [levels for path in paths if (levels := step.levels(path))]
        if not found:
            continue
        lows, highs = zip(*found, strict=True)
        low, high, white = min(lows), max(highs), step.white_level
        if white / 2 < high <= white:
            continue
        fits = (1 << high.bit_length()) - 1
        warn(f'{len(found)} of the first {len(paths)} images have 16 bits, '
             f'with levels of {low:,} to {high:,}; white_level {white:,} is '
             f'white, so they come out {"clipped" if high > white else "dark"}'
             f'. Set pipeline.{number}.white_level={fits} of '
             f'{type(step).__name__} to make level {fits:,} white.')


def log_contents(dataset: BaseDataset) -> None:
    """Warn if most of some files are no images, or all are the same."""
    step = next((step for step in dataset.pipeline.transforms
                 if isinstance(step, LoadImage)), None)
    if step is None or len(dataset) < NUM_IMAGES:
        return
    contents, num_read = set(), 0
    indices = np.unique(np.linspace(0, len(dataset) - 1, NUM_FILES, dtype=int))
    for index in indices.tolist():
        with suppress(OSError, ValueError):  # told when it is its turn
            content, _ = step.read(dataset.get_data_info(index)['img_path'])
            contents.add(hashlib.sha256(content).digest())
            num_read += 1
    seen = (f'of {len(indices)} images looked at in '
            f'{printable(dataset.data_root)}, {num_read}')
    if num_read < len(indices) / 2:
        warn(f'{seen} can be read.')
    elif len(contents) == 1:
        warn(f'{seen} are the same image.')
