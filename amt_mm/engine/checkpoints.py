"""Find the checkpoint from which a stopped run goes on."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path


class CheckpointLostError(ValueError):
    """A run cannot resume from its work dir, for the reason given."""


def find_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint in a folder that is whole, if there was one.

    ``last_checkpoint`` names the newest; where that is missing or damaged, the
    one with the highest number below it is taken. The folder may have moved.
    With it comes a line for each newer one that is missing or damaged. If none
    is whole, CheckpointLostError is raised.
    """
    problems: list[str] = []
    for path in _candidates(folder):
        problem = find_damage(path)
        if problem is None:
            return path, problems
        problems.append(f'{path} {problem}')
    if problems:
        raise CheckpointLostError(
            f'cannot resume from {folder}, no checkpoint in it is whole: '
            f'{"; ".join(problems)}. To start afresh, give another work_dir.')
    return None, []


def _candidates(folder: Path) -> Iterator[Path]:
    pointer = folder / 'last_checkpoint'
    name = pointer.is_file() and Path(
        pointer.read_text(errors='replace').strip()).name
    newest = float('inf')
    if name:
        yield folder / name
        newest = _number(folder / name)
    others = (p for p in folder.glob('*_*.pth')
              if re.fullmatch(r'(epoch|iter)_\d+', p.stem)
              and _number(p) < newest)
    yield from sorted(others, key=_number, reverse=True)


def _number(path: Path) -> float:
    digits = re.findall(r'\d+', path.stem)
    return int(digits[-1]) if digits else float('inf')


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, None if it is whole.

    torch writes an archive with a checksum for each tensor. A sharded
    checkpoint is a folder of such files.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not files or not path.exists():
        return 'is missing'
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError,
                ValueError, NotImplementedError) as error:
            return f'cannot be read ({error})'
        if damaged is not None:
            return f'is damaged (the checksum of {damaged} differs)'
    return None
