"""What a store's manifest says, if it can be believed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from .errors import SaliencyMapsLostError

FORMAT = 2
MAX_BYTES = 1 << 20


def open_file(path: Path) -> int:
    """Open a file that lies here itself; no pipe, no link.

    Raises:
        OSError: If it cannot be opened, or is none.
    """
    # a pipe would wait for a writer
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError('it is no regular file')
    return file


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        SaliencyMapsLostError: If it is missing, or is no manifest.
    """
    try:
        with open(open_file(path), 'rb') as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f'it has more than {MAX_BYTES:,} bytes')
        manifest = json.loads(content)
        _check(manifest)
    except (OSError, AttributeError, KeyError, TypeError, ValueError,
            ArithmeticError, RecursionError) as error:
        raise SaliencyMapsLostError(
            f'cannot read {path}: {error!r}.') from error
    return manifest


def _check(manifest: dict[str, Any]) -> None:
    if manifest['format'] != FORMAT:
        raise ValueError(
            f"format must be {FORMAT}, got {manifest['format']!r}")
    for key in ('num_images', 'grid', 'dataset_id'):
        manifest[key]
    manifest['grid'] = tuple(manifest['grid'])
    current = manifest['current']
    if not (current is None or type(current) is int and current >= 0):
        raise TypeError(f'current must be an integer >= 0, got {current!r}')
    for generation, entry in manifest['generations'].items():
        if not generation.isdecimal() or str(int(generation)) != generation:
            raise ValueError('a generation must be an integer >= 0, got '
                             f'{generation!r}')
        int(entry['crc32'])
