"""One generation of saliency maps on disk: a record for each image.

The file is plain ``.npy`` of records ``(map (h, w) float16, crc32 uint32)``,
so ``numpy.load(path)['map']`` gives the maps.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .manifest import open_file

MAP_DTYPE = np.dtype('<f2')
CHUNK = 1 << 16


def record_dtype(grid: tuple[int, int]) -> np.dtype:
    """Return the type of a record of a (h, w) map."""
    return np.dtype([('map', MAP_DTYPE, grid), ('crc32', '<u4')])


def write_maps(file: BinaryIO, maps: np.ndarray) -> int:
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


class MapFile:
    """Read maps one by one, each checked.

    It reads where a memory map would map: a file that is cut off under a
    memory map kills the process, and pages that were read count as its memory.

    Args:
        path (Path): A file that :func:`write_maps` wrote.

    Raises:
        OSError: If it cannot be opened.
        ValueError, ArithmeticError: If it is no such file, or cut off.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_file(path)
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
