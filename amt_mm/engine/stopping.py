"""Check the work dir before a run, and shut down gracefully."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.logging import print_log


def check_work_dir(folder: str) -> None:
    """Exit if a folder cannot be created or written.

    Raises:
        SystemExit: With the reason in one sentence.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SystemExit(f'work_dir must be a folder that can be written, got '
                         f'{folder}: {error.strerror}.') from error


@contextmanager
def graceful_shutdown(work_dir: str) -> Iterator[None]:
    """Stop a run on SIGTERM or Ctrl-C and leave whole files.

    The process group is left only by a run that came to its end: after an
    error the others may wait in a collective, and to leave would wait for
    them. They and the launcher notice the end of the process.

    Raises:
        SystemExit: With the status that a shell gives such a process.
    """

    asked: list[int] = []

    def stop(signum: int, frame: Any) -> None:
        asked.append(signum)
        print_log(
            f'stopped by {signal.Signals(signum).name}: --resume goes on from '
            f'the last checkpoint in {work_dir}.', logger='current')
        raise SystemExit(128 + signum)

    check_work_dir(work_dir)
    before = {number: signal.signal(number, stop)
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Exception as error:
        if asked:  # amid a write, torch makes an error of its own of it
            raise SystemExit(128 + asked[0]) from error
        raise
    else:
        if is_distributed():
            torch.distributed.destroy_process_group()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
