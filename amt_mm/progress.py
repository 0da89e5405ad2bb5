"""Show how far a long step is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import track

T = TypeVar('T')


def progress(items: Iterable[T],
             what: str,
             total: int | None = None) -> Iterator[T]:
    """Yield items, and show a bar meanwhile that goes when they end.

    There is none where stderr is no terminal, in processes other than the main
    one, and where ``AMT_MM_QUIET`` is set and not 0.
    """
    console = Console(stderr=True)
    is_quiet = os.environ.get('AMT_MM_QUIET', '0') not in ('', '0')
    hidden = is_quiet or not console.is_terminal or not is_main_process()
    yield from items if hidden else track(
        items, what, total, console=console, transient=True)
