"""Write files that are either whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from socket import gethostname
from typing import BinaryIO

ENDING = '.part'


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of ``path`` when complete."""
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    part = part_of(path)
    try:
        # a link that lies there must not be followed
        part.unlink(missing_ok=True)
        with open(part, 'xb') as file:
            yield file
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Name the file that is written in place of another until complete."""
    # nodes may share the folder: each process writes to a name of its own
    return path.with_name(f'{path.name}.{gethostname()}.{os.getpid()}{ENDING}')


def put_in_place(part: Path, path: Path) -> None:
    """Rename a file, or a folder of files, once its content is on disk."""
    for written in part.iterdir() if part.is_dir() else [part]:
        with open(written, 'rb') as file:
            os.fsync(file.fileno())
    if path.is_dir():
        remove(path)
    os.replace(part, path)
    with suppress(OSError):  # where the system can do that to a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_parts(folder: Path) -> None:
    """Remove what interrupted writes left; not while others write."""
    for part in folder.glob(f'*{ENDING}'):
        remove(part)


def remove(path: Path) -> None:
    """Remove a file, or a folder with what it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
