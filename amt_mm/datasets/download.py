"""Open a data set, or download it first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mmengine import dist

T = TypeVar('T')


def open_or_download(open_: Callable[[bool], T], message: str) -> T:
    """Open a data set, first in the main process, which may download it.

    Args:
        open_ (Callable): Opens the data set or raises. Its argument is whether
            this is the main process, the one to download.
        message (str): What is missing, and how to place it by hand.

    Raises:
        FileNotFoundError: With the message, if the data set did not open.
    """
    opened: list[T] = []
    failure: Exception | None = None
    for turn in ('main process', 'others'):
        if dist.is_main_process() == (turn == 'main process'):
            try:
                opened.append(open_(dist.is_main_process()))
            except Exception as error:  # the others wait at the barrier
                failure = error
        if turn == 'main process':
            dist.barrier()
    if failure:
        raise FileNotFoundError(
            f'{message}\nThe cause: {failure!r}') from failure
    return opened[0]
