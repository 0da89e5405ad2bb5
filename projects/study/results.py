"""Results of a study, one JSON line each, in a file that only grows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

Line = dict[str, Any]
KEY = ('row', 'seed', 'stage', 'settings')


class Results:
    """The lines of a file; what a kill left of a line is dropped.

    Several processes may add to one file.

    Args:
        path (Path): The file, made with the first line.

    Raises:
        ValueError: If a line is not a JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._read()

    def _read(self) -> int:
        """Read the lines anew; return how many bytes they are."""
        text = self.path.read_bytes() if self.path.exists() else b''
        size = text.rfind(b'\n') + 1
        self.lines = [
            self._parse(line) for line in text[:size].splitlines()]
        return size

    def _parse(self, text: bytes) -> Line:
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise ValueError(f'{self.path} must hold one JSON object a line, '
                             f'got {text[:80]!r}.') from error

    def find(self, **key: Any) -> Line | None:
        """Return the line of a row, seed, stage and settings."""
        self._read()  # another process may have added some
        return next((line for line in self.lines
                     if all(line[name] == key[name] for name in KEY)), None)

    def add(self, **line: Any) -> None:
        """Append a line, on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f'{self.path.name}.lock'))
        with lock, open(self.path, 'ab') as file:
            file.truncate(self._read())
            file.write(json.dumps(line).encode() + b'\n')
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)
