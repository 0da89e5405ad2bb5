"""The saliency maps of a training set, on disk and shared by all workers.

Layout of the folder, with nothing pickled in it::

    manifest.json    the data set, the generations, the current one
    epoch_0040.npy   num_images records, written before epoch 40
    epoch_0080.npy

A record is ``(map (h, w) float16, crc32 uint32)``, so
``numpy.load(path)['map']`` gives the maps.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from amt_mm.atomic_write import remove_parts, replacing

FORMAT = 2
MAP_DTYPE = np.dtype('<f2')
CHUNK = 1 << 16  # records written at once


class MapFile(FileIO):
    """A file that is closed, without a warning, when nothing holds it."""

    def __del__(self) -> None:
        self.close()


class SaliencyStoreError(ValueError):
    """The store on disk cannot be used; the message says why."""


class SaliencyMapsLostError(SaliencyStoreError):
    """What the store should hold is missing or damaged."""


def fingerprint(paths: Iterable[str]) -> str:
    """Identify a data set by its sample paths, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.encode('utf-8', 'surrogateescape') + b'\0')
    return digest.hexdigest()


def record_dtype(grid: tuple[int, int]) -> np.dtype:
    """Return the type of the record of a (h, w) map."""
    return np.dtype([('map', MAP_DTYPE, grid), ('crc32', '<u4')])


class Manifest(NamedTuple):
    """Which generations a store holds, and their checksums."""

    current: int | None  # the one in use, None before the first
    checksums: dict[int, int]  # the crc32 of each generation's records


class SaliencyStore:
    """Saliency maps on disk in generations, switched atomically.

    A generation is written to a new file; then one rename of the manifest
    makes it the current one, so a crash at any moment leaves the previous one
    whole. Readers open the file on first use, drop the handle when pickled,
    and notice a new generation by the manifest's time stamp. The checksum of
    each map is compared as it is read.

    Args:
        root (str | Path): Folder of the store.
        num_images (int): Length of the training set.
        grid (tuple[int]): (h, w) of a map.
        dataset_id (str): :func:`fingerprint` of the training set.
    """

    def __init__(self, root: str | Path, num_images: int,
                 grid: tuple[int, int], dataset_id: str) -> None:
        self.root = Path(root)
        self.manifest = self.root / 'manifest.json'
        self._manifest_name = str(self.manifest)  # its stamp is read often
        self.num_images = num_images
        self.grid = grid[0], grid[1]
        self.dataset_id = dataset_id
        self._stamp: tuple[int, int] | None = None
        self._file: MapFile | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_stamp': None, '_file': None}

    def path(self, generation: int) -> Path:
        """Path of the maps that were made before a 0-based epoch."""
        return self.root / f'epoch_{generation:04d}.npy'

    @property
    def generation(self) -> int | None:
        """The current generation, None before the first update."""
        return self._read_manifest().current

    @property
    def generations(self) -> list[int]:
        """The generations held, oldest first."""
        return sorted(self._read_manifest().checksums)

    def read(self, index: int) -> np.ndarray | None:
        """Return the map (h, w) float16 of an image, None before the first."""
        try:
            status = os.stat(self._manifest_name)
        except FileNotFoundError:
            raise SaliencyMapsLostError(
                f'no saliency store at {self.root}: manifest.json is missing. '
                'SaliencyUpdateHook makes it when training starts.') from None
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            current = self.generation
            self._file = None if current is None else self._open(current)
            self._stamp = stamp
        if self._file is None:
            return None
        if not 0 <= index < self.num_images:
            raise IndexError(
                f'index must be in [0, {self.num_images}), got {index}.')
        dtype = record_dtype(self.grid)
        content = b''
        # a file that is cut off under a memory map kills the process, and
        # pages that were read count as its memory
        with suppress(OSError):
            # the position is that after the header, which is never moved
            content = os.pread(self._file.fileno(), dtype.itemsize,
                               self._file.tell() + index * dtype.itemsize)
        if len(content) == dtype.itemsize:
            record = np.frombuffer(content, dtype)[0]
            is_whole = zlib.crc32(content[:-4], index) == record['crc32']
            if is_whole:
                return record['map']
        raise SaliencyMapsLostError(
            f'cannot read the saliency maps {self._file.name}: the map of '
            f'image {index} is damaged. Resume from the last checkpoint: '
            'the maps are then checked, and computed again.')

    def verify(self, generation: int) -> None:
        """Read a whole generation and compare its checksum."""
        expected, checksum = self._checksum(generation), 0
        with self._open(generation) as file:
            while chunk := file.read(CHUNK << 4):
                checksum = zlib.crc32(chunk, checksum)
        if checksum != expected:
            raise SaliencyMapsLostError(
                f'{self.path(generation)} is damaged: its checksum differs '
                'from the one in manifest.json.')

    def _checksum(self, generation: int) -> int:
        held = self._read_manifest().checksums
        if generation not in held:
            raise SaliencyMapsLostError(f'{self.root} holds no generation '
                                        f'{generation}, only {sorted(held)}.')
        return held[generation]

    def _open(self, generation: int) -> MapFile:
        """Open the maps of a generation, behind the header of the file."""
        path = self.path(generation)
        expected = (self.num_images, ), record_dtype(self.grid)
        try:
            file = MapFile(path)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if (shape, dtype) != expected:
                raise ValueError(f'got {shape} {dtype}')
            if os.fstat(file.fileno()).st_size != \
                    file.tell() + self.num_images * dtype.itemsize:
                raise ValueError('it is cut off')
        except (OSError, ValueError, ArithmeticError) as error:
            raise SaliencyMapsLostError(
                f'cannot read the saliency maps {path}, which must hold '
                f'{expected[0]} records {expected[1]}: {error}.') from error
        return file

    def _read_manifest(self) -> Manifest:
        try:
            content = json.loads(self.manifest.read_bytes())
            if content['format'] != FORMAT:
                raise ValueError(
                    f"format must be {FORMAT}, got {content['format']!r}")
            found = (content['num_images'], tuple(content['grid']),
                     content['dataset_id'])
            checksums = {int(generation): int(entry['crc32']) for
                         generation, entry in content['generations'].items()}
            current = content['current']
            if current is not None and current not in checksums:
                raise ValueError(f'current must be one of {[*checksums]}, got '
                                 f'{current!r}')
        except (OSError, AttributeError, KeyError, TypeError, ValueError,
                ArithmeticError, RecursionError) as error:
            raise SaliencyMapsLostError(
                f'cannot read {self.manifest}: {error!r}.') from error
        expected = (self.num_images, self.grid, self.dataset_id)
        if found != expected:
            was, now = (f'({n}, {grid}, {str(name)[:12]}...)'
                        for n, grid, name in (found, expected))
            raise SaliencyStoreError(
                f'the saliency store {self.root} belongs to another data set: '
                f'it has (images, grid, fingerprint) {was}, training has '
                f'{now}. Use another work_dir, or the data set that the run '
                'began with.')
        return Manifest(current, checksums)

    def reset(self) -> None:
        """Start empty: the maps of an earlier run are removed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise SaliencyStoreError(
                f'store_dir must be a folder, got {self.root}, which is or '
                'lies below a file.') from None
        self._write_manifest(Manifest(None, {}))

    def clean(self) -> None:
        """Remove what interrupted writes left; not while others write."""
        remove_parts(self.root)

    def write(self, generation: int, maps: np.ndarray, keep: int = 2,
              needed: Collection[int | None] = ()) -> None:
        """Add maps (num_images, h, w) in [0, 1] and make them the current.

        Besides the ``keep`` newest generations, those ``needed`` stay on disk.
        If the disk fails, OSError is raised and the current one stays.
        """
        expected = (self.num_images, *self.grid)
        if maps.shape != expected:
            raise ValueError(
                f'maps must have shape {expected}, got {maps.shape}.')
        maps = maps.astype(MAP_DTYPE, copy=False)
        if not np.isfinite(maps).all():
            raise ValueError('maps must be finite, got NaN or infinity.')
        held = self._read_manifest().checksums
        with replacing(self.path(generation)) as file:
            held[generation] = _write_maps(file, maps)
        stay = {*sorted(held)[-keep:], generation, *needed}
        self._write_manifest(Manifest(
            generation, {g: crc32 for g, crc32 in held.items() if g in stay}))

    def activate(self, generation: int | None) -> None:
        """Make a generation that is held the current one, or none."""
        if generation is not None:
            self._checksum(generation)
        self._write_manifest(
            self._read_manifest()._replace(current=generation))

    def _write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest, and remove the files that it does not name."""
        content = dict(
            format=FORMAT, num_images=self.num_images, grid=list(self.grid),
            dataset_id=self.dataset_id, current=manifest.current,
            generations={str(generation): dict(crc32=crc32) for
                         generation, crc32 in manifest.checksums.items()})
        with replacing(self.manifest) as file:
            file.write(json.dumps(content, indent=1).encode())
        named = set(map(self.path, manifest.checksums))
        for path in {*self.root.glob('epoch_*.npy')} - named:
            path.unlink(missing_ok=True)


def _write_maps(file: BinaryIO, maps: np.ndarray) -> int:
    """Write maps (N, h, w) and return the checksum of all records."""
    dtype = record_dtype(maps.shape[1:])
    header = dict(descr=dtype.descr, fortran_order=False, shape=(len(maps), ))
    np.lib.format.write_array_header_1_0(file, header)
    checksum = 0
    for start in range(0, len(maps), CHUNK):
        chunk = maps[start:start + CHUNK]
        records = np.empty(len(chunk), dtype)
        records['map'] = chunk
        records['crc32'] = [zlib.crc32(own.tobytes(), start + i)
                            for i, own in enumerate(records['map'])]
        checksum = zlib.crc32(records.tobytes(), checksum)
        file.write(records.tobytes())
    return checksum
