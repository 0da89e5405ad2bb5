"""The store of maps at the sizes of ImageNet-1K and ImageNet-21K."""

from __future__ import annotations

import copy
import multiprocessing
import tempfile
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from amt_mm.saliency import SaliencyStore
from amt_mm.saliency.store import Manifest, record_dtype

from .item import Result, Setting, item
from .step import clock

GRID = (14, 14)
SIZES = (1_281_167, 14_197_122)
NUM_READS = 100_000
# opening (ms), look-ups (us), resident memory (MB)
Figures = tuple[float, list[float], float]


def sparse_store(folder: Path, num_images: int,
                 rows: np.ndarray) -> SaliencyStore:
    """Make a store of which only some rows take room on the disk."""
    store = SaliencyStore(folder, num_images, GRID, 'bench')
    store.reset()
    dtype = record_dtype(GRID)
    record = np.zeros((), dtype)
    with open(store.path(1), 'wb') as file:
        np.lib.format.write_array_header_1_0(file, dict(
            descr=dtype.descr, fortran_order=False, shape=(num_images, )))
        start = file.tell()
        file.truncate(start + num_images * dtype.itemsize)
        for row in np.unique(rows).tolist():
            record['map'] = row % 7 / 7
            record['crc32'] = zlib.crc32(record['map'].tobytes(), row)
            file.seek(start + row * dtype.itemsize)
            file.write(record.tobytes())
    store._write_manifest(Manifest(1, {1: 0}))
    return store


def resident() -> float:
    """Return the resident memory of this process in MB."""
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


def read_all(store: SaliencyStore, rows: np.ndarray,
             pipe: Connection) -> None:
    """Open the store and read rows, as a worker does; send the figures."""
    copy.copy(store).read(int(rows[0]))  # the code is in memory
    before, now = resident(), clock()
    start = now()
    store.read(int(rows[0]))
    opening = 1e3 * (now() - start)
    per_read = []
    for chunk in np.array_split(rows, max(2, len(rows) // 1000)):
        start = now()
        for row in chunk.tolist():
            store.read(row)
        per_read.append(1e6 * (now() - start) / len(chunk))
    pipe.send((opening, per_read, resident() - before))


@item('store', 'Input',
      'The store of maps with as many rows as ImageNet-1K and ImageNet-21K '
      'have images (sparse files): opening it, one random look-up with its '
      'checksum, and the resident memory that a fresh process gains by '
      '100,000 of them.')
def store(setting: Setting) -> list[Result]:
    """Open, look up and weigh stores of two sizes."""
    results = []
    for size in (1000, 2000) if setting.tiny else SIZES:
        rows = np.random.default_rng(0).integers(
            0, size, 200 if setting.tiny else NUM_READS)
        with tempfile.TemporaryDirectory() as folder:
            built = sparse_store(Path(folder), size, rows)
            figures = [measure(built, rows)[0] for _ in range(setting.rounds)]
        opening, reads, memory = zip(*figures, strict=True)
        rows_are = dict(rows=size)
        results += [
            Result.of(f'open_{size}', opening, aim=10, unit='ms',
                      extra=rows_are),
            Result.of(f'look_up_{size}', sum(reads, []), aim=20, unit='us',
                      extra=rows_are),
            Result.of(f'resident_{size}', memory, aim=50, unit='MB',
                      extra=rows_are),
        ]
    return results


def measure(store: SaliencyStore, rows: np.ndarray,
            number: int = 1) -> list[Figures]:
    """Read in a number of processes at once."""
    context = multiprocessing.get_context('fork')
    pipes, processes = [], []
    for _ in range(number):
        ours, theirs = context.Pipe()
        pipes.append(ours)
        processes.append(context.Process(
            target=read_all, args=(store, rows, theirs)))
    for process in processes:
        process.start()
    figures = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return figures


@item('store_growth', 'Input',
      'A look-up in the store of ImageNet-1K while several processes look up, '
      'in microseconds of the CPU of each.')
def store_growth(setting: Setting) -> list[Result]:
    """Look up in more and more processes."""
    size, number = (1000, 200) if setting.tiny else (SIZES[0], NUM_READS // 4)
    rows = np.random.default_rng(0).integers(0, size, number)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        built = sparse_store(Path(folder), size, rows)
        for workers in (1, 2) if setting.tiny else (1, 2, 4, 8, 16):
            reads = [us for _ in range(setting.rounds)
                     for _, per_read, _ in measure(built, rows, workers)
                     for us in per_read]
            results.append(Result.of(
                f'look_up_{workers}_processes', reads, aim=20, unit='us',
                extra=dict(rows=size, processes=workers)))
    return results
