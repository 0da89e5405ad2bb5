"""Refuse a checkpoint that holds code, before anything loads it.

mmengine reads a checkpoint safely first, but where that fails it reads it
again with all that the file tells it to call; what it downloads, it reads so
at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

import torch
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from amt_mm.compatibility import mmengine_safe_globals, safe_globals

from .read import log_types_only, read_checkpoint, reason, saved_method

SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
URLS = ('http://', 'https://')
ADVICE = ('If you made the file, tools/train.py and tools/test.py take '
          '--trust-checkpoint.')


@contextmanager
def weights_only_loading(path: str | None = None,
                   trusted: bool = False) -> Iterator[None]:
    """Let no checkpoint execute anything while this lasts.

    Args:
        path (str, optional): A checkpoint to look into at once.
        trusted (bool): Whether to leave it all as mmengine has it.

    Raises:
        ValueError: If a checkpoint holds code; the message names the code.
    """
    allowed = [item for item in mmengine_safe_globals() if item != getattr]
    allowed += [OneCycleParamScheduler, (saved_method, 'builtins.getattr')]
    if trusted:
        # mmengine 0.10.7 leaves it to torch, which from 2.6 on wants to know
        with safe_globals(allowed):
            yield
        return
    before = os.environ.get(SWITCH)
    # torch's own switch, which holds even where mmengine asks otherwise
    os.environ[SWITCH] = '1'
    try:
        if path:
            check_checkpoint(path)
        with safe_globals(allowed):
            yield
    except UnpicklingError as error:
        raise ValueError('a checkpoint of this run is not trusted: '
                         f'{reason(error)} {ADVICE}') from error
    finally:
        os.environ.pop(SWITCH)
        if before is not None:
            os.environ[SWITCH] = before


def check_checkpoint(path: str) -> None:
    """Look into a file or URL for code; of a file, load no tensor.

    Of a sharded checkpoint, which is a folder, it looks into each file. What
    is missing or damaged passes: whoever loads it says so.

    Raises:
        ValueError: If it holds code; the message names the file and the code.
    """
    if path.startswith(URLS):
        read_checkpoint(path)
        return
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            check_checkpoint(os.path.join(path, name))
        return
    try:
        with log_types_only():
            _open(path)
    except UnpicklingError as error:
        raise ValueError(f'the checkpoint {path} is not trusted: '
                         f'{reason(error)} {ADVICE}') from error
    except (OSError, RuntimeError, EOFError, ValueError):
        return


def _open(path: str) -> None:
    """Read all of a checkpoint but its tensors, where its format allows it."""
    try:
        torch.load(path, 'meta', weights_only=True, mmap=True)
    except RuntimeError:  # written before torch 1.6, or no checkpoint
        torch.load(path, 'meta', weights_only=True)
