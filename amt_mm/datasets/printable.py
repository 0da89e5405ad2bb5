"""Show a file's name in a log safely."""

from __future__ import annotations

import os

MAX_LENGTH = 500


def printable(name: str | os.PathLike[str]) -> str:
    """Escape control characters and broken UTF-8; shorten what is long."""
    text = ''.join(
        c if c.isprintable() else repr(c)[1:-1] for c in os.fspath(name))
    if len(text) <= MAX_LENGTH:
        return text
    half = MAX_LENGTH // 2
    return f'{text[:half]}...{text[-half:]}'
