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
import stat
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from amt_mm.atomic_write import remove_parts, replacing

FORMAT = 2
MAP_DTYPE = np.dtype('<f2')
CHUNK = 1 << 16  # records written at once
MAX_MANIFEST_BYTES = 1 << 20


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
        self._maps: _MapFile | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_stamp': None, '_maps': None}

    def path(self, generation: int) -> Path:
        """Path of the maps that were made before a 0-based epoch."""
        return self.root / f'epoch_{generation:04d}.npy'

    # ---- reading

    @property
    def generation(self) -> int | None:
        """The current generation, None before the first update."""
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
            status = os.stat(self._manifest_name)
        except FileNotFoundError:
            raise SaliencyMapsLostError(
                f'no saliency store at {self.root}: manifest.json is missing. '
                'SaliencyUpdateHook makes it when training starts.') from None
        stamp = (status.st_mtime_ns, status.st_ino)
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

    def _open(self, generation: int) -> _MapFile:
        path = self.path(generation)
        try:
            maps = _MapFile(path)
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
        try:
            with open(_open_regular(self.manifest), 'rb') as file:
                content = file.read(MAX_MANIFEST_BYTES + 1)
            if len(content) > MAX_MANIFEST_BYTES:
                raise ValueError(f'more than {MAX_MANIFEST_BYTES:,} bytes')
            manifest = json.loads(content)
            _check_manifest(manifest)
            found = (manifest['num_images'], tuple(manifest['grid']),
                     manifest['dataset_id'])
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
        return manifest

    # ---- writing: one process of each node

    def reset(self) -> None:
        """Start empty: the maps of an earlier run are removed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise SaliencyStoreError(
                f'store_dir must be a folder, got {self.root}, which is or '
                'lies below a file.') from None
        self._write_manifest(None, {})

    def clean(self) -> None:
        """Remove what interrupted writes left; not while others write."""
        remove_parts(self.root)

    def write(self, generation: int, maps: np.ndarray, keep: int = 2,
              needed: Collection[int | None] = ()) -> None:
        """Add a generation and make it the current one.

        Args:
            generation (int): The 0-based epoch before which it was made.
            maps (np.ndarray): (num_images, h, w), finite, in [0, 1].
            keep (int): How many generations stay on disk, this one included.
                Defaults to 2: a resume may need the one before.
            needed (Collection[int]): Generations that stay in any case, such
                as those of checkpoints. Defaults to none.

        Raises:
            OSError: If the disk is full or fails. The generations written
                before are whole, and the current one stays.
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
            held[str(generation)] = dict(crc32=_write_maps(file, maps))
        newest = sorted(held, key=int)[-keep:]
        stay = {*newest, str(generation), *map(str, needed)}
        self._write_manifest(
            generation, {g: entry for g, entry in held.items() if g in stay})

    def activate(self, generation: int | None) -> None:
        """Make a generation that is held the current one, or none."""
        if generation is not None:
            self._entry(generation)
        self._write_manifest(generation, self._read_manifest()['generations'])

    def _write_manifest(self, current: int | None, held: dict) -> None:
        """Replace the manifest, and remove the files that it does not name."""
        content = dict(
            format=FORMAT,
            num_images=self.num_images,
            grid=list(self.grid),
            dataset_id=self.dataset_id,
            current=current,
            generations=held)
        with replacing(self.manifest) as file:
            file.write(json.dumps(content, indent=1).encode())
        named = {self.path(int(generation)) for generation in held}
        for path in {*self.root.glob('epoch_*.npy')} - named:
            path.unlink(missing_ok=True)


class _MapFile:
    """Read the maps of a generation one by one, each checked.

    It reads where a memory map would map: a file that is cut off under a
    memory map kills the process, and pages that were read count as its memory.

    Raises:
        OSError: If it cannot be opened.
        ValueError, ArithmeticError: If it is no such file, or cut off.
    """

    def __init__(self, path: Path) -> None:
        self._file = _open_regular(path)
        # only to read the header and to compare it with the size of the file
        records = np.lib.format.open_memmap(path, mode='r')
        self.path, self.shape, self.dtype = path, records.shape, records.dtype
        self.offset = int(records.offset)

    def __del__(self) -> None:
        if hasattr(self, '_file'):
            os.close(self._file)

    def read(self, index: int) -> np.ndarray:
        """Return the map (h, w) of an image.

        Raises:
            IndexError: If there is no such image.
            OSError: If the disk fails.
            ValueError: If the record is cut off or damaged.
        """
        if not 0 <= index < self.shape[0]:
            raise IndexError(
                f'index must be in [0, {self.shape[0]}), got {index}.')
        size = self.dtype.itemsize
        found = os.pread(self._file, size, self.offset + index * size)
        if len(found) == size:
            records = np.frombuffer(found, self.dtype)
            if zlib.crc32(found[:-4], index) == records['crc32'][0]:
                return records['map'][0]
        raise ValueError(f'the map of image {index} is damaged')

    def checksum(self) -> int:
        """Read all records and return their checksum."""
        with open(self._file, 'rb', closefd=False) as file:
            file.seek(self.offset)
            checksum = 0
            while chunk := file.read(CHUNK << 4):
                checksum = zlib.crc32(chunk, checksum)
        return checksum


def _write_maps(file: BinaryIO, maps: np.ndarray) -> int:
    """Write maps (N, h, w) and return the checksum of all records."""
    dtype = record_dtype(maps.shape[1:])
    header = dict(descr=dtype.descr, fortran_order=False, shape=(len(maps), ))
    np.lib.format.write_array_header_1_0(file, header)
    checksum = 0
    for start in range(0, len(maps), CHUNK):
        records = np.empty(len(maps[start:start + CHUNK]), dtype)
        records['map'] = maps[start:start + CHUNK]
        records['crc32'] = [
            zlib.crc32(saliency_map.tobytes(), start + i)
            for i, saliency_map in enumerate(records['map'])
        ]
        checksum = zlib.crc32(records.tobytes(), checksum)
        file.write(records.tobytes())
    return checksum


def _open_regular(path: Path) -> int:
    """Open a regular file for reading, no pipe and no link.

    Raises:
        OSError: If it cannot be opened, or is no regular file.
    """
    # a pipe would wait for a writer
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError('it is no regular file')
    return file


def _check_manifest(manifest: dict[str, Any]) -> None:
    """Raise an error if a manifest is not what ``_write_manifest`` writes."""
    if manifest['format'] != FORMAT:
        raise ValueError(
            f"format must be {FORMAT}, got {manifest['format']!r}")
    current = manifest['current']
    if not (current is None or type(current) is int and current >= 0):
        raise TypeError(f'current must be an integer >= 0, got {current!r}')
    for generation, entry in manifest['generations'].items():
        if not generation.isdecimal() or str(int(generation)) != generation:
            raise ValueError('a generation must be an integer >= 0, got '
                             f'{generation!r}')
        int(entry['crc32'])
