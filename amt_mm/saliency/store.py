"""The saliency maps of a training set, on disk and shared by all workers.

Layout of the folder, with nothing pickled in it::

    manifest.json    the data set, the generations, the one in use
    epoch_0040.npy   num_images records, written before epoch 40
    epoch_0080.npy
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .atomic_write import remove_parts, replacing
from .errors import SaliencyMapsLostError, SaliencyStoreError
from .manifest import FORMAT, read_manifest
from .map_file import MAP_DTYPE, MapFile, record_dtype, write_maps


def fingerprint(paths: Iterable[str]) -> str:
    """Identify a data set by its sample paths, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.encode('utf-8', 'surrogateescape') + b'\0')
    return digest.hexdigest()


class SaliencyStore:
    """Saliency maps on disk in generations, switched atomically.

    A generation is written to a new file; then one rename of the manifest puts
    it in use, so a crash at any moment leaves the previous one whole. Readers
    open the file on first use, drop the handle when pickled, and notice a new
    generation by the manifest's time stamp. Each map is checked as it is read.

    Args:
        root (str | Path): Folder of the store.
        num_images (int): Length of the training set.
        grid (tuple[int]): (h, w) of a map.
        dataset_id (str): :func:`fingerprint` of the training set.
    """

    def __init__(self, root: str | Path, num_images: int,
                 grid: tuple[int, int], dataset_id: str) -> None:
        self.root = Path(root)
        # says which generation is in use; its time stamp is read with each map
        self.manifest = self.root / 'manifest.json'
        self._manifest_name = str(self.manifest)
        self.num_images = num_images
        self.grid = grid[0], grid[1]
        self.dataset_id = dataset_id
        self._stamp: tuple[int, int] | None = None
        self._maps: MapFile | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_stamp': None, '_maps': None}

    def path(self, generation: int) -> Path:
        """Path of the maps that were made before a 0-based epoch."""
        return self.root / f'epoch_{generation:04d}.npy'

    # ---- reading

    @property
    def generation(self) -> int | None:
        """The generation in use, None before the first refresh."""
        return self._read_manifest()['current']

    @property
    def generations(self) -> list[int]:
        """The generations held, oldest first."""
        return sorted(map(int, self._read_manifest()['generations']))

    def read(self, index: int) -> np.ndarray | None:
        """Return the map (h, w) float16 of one image, None before the first.

        Raises:
            SaliencyStoreError: If the store is missing, damaged, or made for
                another data set.
        """
        try:
            stat = os.stat(self._manifest_name)
        except FileNotFoundError:
            raise SaliencyMapsLostError(
                f'no saliency store at {self.root}: manifest.json is missing. '
                'SaliencyUpdateHook makes it when training starts.') from None
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._stamp:
            current = self.generation
            self._maps = None if current is None else self._open(current)
            self._stamp = stamp
        if self._maps is None:
            return None
        try:
            return self._maps.read(index)
        except (OSError, ValueError) as error:
            raise SaliencyMapsLostError(
                f'cannot read the saliency maps {self._maps.path}: {error}. '
                'Resume from the last checkpoint: the maps are then checked, '
                'and made anew.') from error

    def verify(self, generation: int) -> None:
        """Read a whole generation and compare its checksum."""
        crc32 = self._entry(generation)['crc32']
        if self._open(generation).checksum() != crc32:
            raise SaliencyMapsLostError(
                f'{self.path(generation)} is damaged: its checksum differs '
                'from the one in manifest.json.')

    def _entry(self, generation: int) -> dict[str, int]:
        held = self._read_manifest()['generations']
        if str(generation) not in held:
            raise SaliencyMapsLostError(
                f'{self.root} holds no generation {generation}, only '
                f'{sorted(map(int, held))}.')
        return held[str(generation)]

    def _open(self, generation: int) -> MapFile:
        path = self.path(generation)
        try:
            maps = MapFile(path)
        except (OSError, ValueError, ArithmeticError) as error:
            raise SaliencyMapsLostError(
                f'cannot read the saliency maps {path}: {error}') from error
        expected = (self.num_images, ), record_dtype(self.grid)
        if (maps.shape, maps.dtype) != expected:
            raise SaliencyMapsLostError(
                f'{path} must hold {expected[0]} records {expected[1]}, got '
                f'{maps.shape} {maps.dtype}.')
        return maps

    def _read_manifest(self) -> dict[str, Any]:
        manifest = read_manifest(self.manifest)
        found = (manifest['num_images'], manifest['grid'],
                 manifest['dataset_id'])
        expected = (self.num_images, self.grid, self.dataset_id)
        if found != expected:
            raise SaliencyStoreError(
                f'the saliency store {self.root} belongs to another data set: '
                'it has (images, grid, fingerprint) '
                f'{_show(found)}, training has {_show(expected)}. Use another '
                'work_dir, or the data set that the run began with.')
        return manifest

    # ---- writing: one process of each node

    def reset(self) -> None:
        """Start empty: the maps of an earlier run are forgotten."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise SaliencyStoreError(
                f'store_dir must be a folder, got {self.root}, which is or '
                'lies below a file.') from None
        self._write_manifest(None, {})
        self._drop_old(held={})

    def clean(self) -> None:
        """Remove what interrupted writes left; not while others write."""
        remove_parts(self.root)

    def write(self, generation: int, maps: np.ndarray, keep: int = 2,
              needed: Collection[int | None] = ()) -> None:
        """Add a generation (num_images, h, w) and put it in use.

        Args:
            generation (int): The 0-based epoch before which it was made.
            maps (np.ndarray): (num_images, h, w), finite, in [0, 1].
            keep (int): How many generations stay on disk, this one included.
                Defaults to 2: a resume may need the one before.
            needed (Collection[int]): Generations that stay in any case, as a
                checkpoint names them. Defaults to none.

        Raises:
            OSError: If the disk is full or fails. What was held before is
                whole and in use.
        """
        expected = (self.num_images, *self.grid)
        if maps.shape != expected:
            raise ValueError(
                f'maps must have shape {expected}, got {maps.shape}.')
        maps = maps.astype(MAP_DTYPE, copy=False)
        if not np.isfinite(maps).all():
            raise ValueError('maps must be finite, got NaN or infinity.')
        held = self._read_manifest()['generations']
        with replacing(self.path(generation)) as file:
            crc32 = write_maps(file, maps)
        held[str(generation)] = dict(crc32=crc32)
        newest = sorted(held, key=int)[-keep:]
        stay = {*newest, str(generation), *map(str, needed)}
        held = {g: entry for g, entry in held.items() if g in stay}
        self._write_manifest(generation, held)
        self._drop_old(held)

    def activate(self, generation: int | None) -> None:
        """Put a generation that is held in use, or none, as before epoch 0."""
        if generation is not None:
            self._entry(generation)
        self._write_manifest(generation, self._read_manifest()['generations'])

    def _write_manifest(self, current: int | None, held: dict) -> None:
        content = dict(
            format=FORMAT,
            num_images=self.num_images,
            grid=list(self.grid),
            dataset_id=self.dataset_id,
            current=current,
            generations=held)
        with replacing(self.manifest) as file:
            file.write(json.dumps(content, indent=1).encode())

    def _drop_old(self, held: dict) -> None:
        keep = {self.path(int(generation)) for generation in held}
        for path in set(self.root.glob('epoch_*.npy')) - keep:
            path.unlink(missing_ok=True)


def _show(identity: tuple) -> str:
    num_images, grid, dataset_id = identity
    return f'({num_images}, {grid}, {str(dataset_id)[:12]}...)'
