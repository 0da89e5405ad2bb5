"""Read a checkpoint, or look into one: nothing in it is executed.

mmengine reads a checkpoint safely first, but where that fails it reads it
again with all that the file tells it to call; what it downloads, it reads so
at once.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine import fileio
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from amt_mm.compatibility import mmengine_safe_globals, safe_globals

from .hub import HF_FILES, fetch

SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
ADVICE = ('If you made the file, tools/train.py and tools/test.py take '
          '--trust-checkpoint.')
# what torch raises of files that are none of its own
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError,
              TypeError, AttributeError, struct.error)


# ---- what a checkpoint may hold besides tensors: harmless classes, or a
# stand-in where the class itself is not needed


def _nothing(*args: Any) -> None:
    """Stand in for what a checkpoint would look up or call."""


class _Log:
    """Stand in for HistoryBuffer, which writes into what all of them share."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Forget it."""


class _OneCycle:
    """Stand in for mmengine's scheduler whose state holds a method."""


METHODS: dict[Any, set[str]] = {
    **dict.fromkeys([_Log, HistoryBuffer], {'mean', 'min', 'max', 'current'}),
    **dict.fromkeys([_OneCycle, OneCycleParamScheduler],
                    {'_annealing_cos', '_annealing_linear'})
}


def saved_method(owner: Any, name: str) -> Any:
    """Return a method that mmengine saves by its name, and no other.

    Otherwise ``getattr(getattr, '__self__').exec`` would come to all.
    """
    if not isinstance(owner, type) or name not in METHODS.get(owner, ()):
        raise UnpicklingError(f'GLOBAL builtins.getattr of {name!r}')
    return getattr(owner, name, None)


_ARRAY: Any = np.zeros(0).__reduce__()[0]
HARMLESS: tuple[Any, ...] = (
    # mmengine's log and schedulers
    (_Log, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_OneCycle, 'mmengine.optim.scheduler.param_scheduler.'
     'OneCycleParamScheduler'), (saved_method, 'builtins.getattr'),
    # numpy's arrays and numbers
    np.ndarray, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (_nothing, 'numpy.core.multiarray.scalar'),
    (_nothing, 'numpy._core.multiarray.scalar'),
    (_ARRAY, 'numpy.core.multiarray._reconstruct'),
    (_ARRAY, 'numpy._core.multiarray._reconstruct'),
    # the command line or config of a training script
    Namespace, SimpleNamespace, (OrderedDict, 'yacs.config.CfgNode'),
    (_nothing, 'pathlib.Path'), (_nothing, 'pathlib.PosixPath'),
    (_nothing, 'pathlib.WindowsPath'), (_nothing, 'pathlib._local.PosixPath'))


# ---- reading


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read the tensors and plain data of a file, a URL, or a folder.

    The format is known by the content. A folder is one of transformers; its
    ``config.json`` becomes ``meta['hf_config']``. Raises ValueError if the
    checkpoint is missing, damaged, or holds code.
    """
    path = fetch(path)
    try:
        loaded = _read_folder(path) if os.path.isdir(path) else _read(path)
    except (UnpicklingError, *UNREADABLE) as error:
        raise ValueError(
            f'cannot read the checkpoint {path}: {reason(error)}') from error
    return loaded if isinstance(loaded, dict) else {}


def _read_folder(path: str) -> dict[str, Any]:
    name = next((n for n in HF_FILES if Path(path, n).is_file()), None)
    if name is None:
        raise ValueError(f'the folder holds none of {", ".join(HF_FILES)}.')
    if not name.endswith('.json'):
        return _read(os.path.join(path, name))
    shards = json.loads(Path(path, name).read_text())['weight_map'].values()
    parts = [_read(os.path.join(path, os.path.basename(shard)))
             for shard in sorted(set(shards))]
    return dict(parts[0], state_dict={
        key: value for part in parts
        for key, value in part.get('state_dict', part).items()})


def _read(path: str) -> Any:
    data = fileio.get(path)
    config = Path(path).with_name('config.json')
    meta = {}
    if '://' not in str(path) and config.is_file():
        meta = dict(hf_config=json.loads(config.read_text()))
    if data[8:9] == b'{':  # after its length, the header of a safetensors
        from safetensors import SafetensorError
        from safetensors.torch import load
        try:
            state = load(data)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        length = int.from_bytes(data[:8], 'little')
        header = json.loads(data[8:8 + length])
        return dict(state_dict=state,
                    meta={**meta, **(header.get('__metadata__') or {})})
    with safe_globals(HARMLESS, only=True):
        loaded = torch.load(
            io.BytesIO(data), map_location='cpu', weights_only=True)
    return {'meta': meta, **loaded} if meta and isinstance(
        loaded, dict) else loaded


def reason(error: Exception) -> str:
    """Say why, without torch's advice to read the file unsafely."""
    text = ' '.join(str(error).split())
    code = re.search(r'GLOBAL (\S+)', text)
    if code:
        return (f'it holds the pickled code {code[1]}, and only tensors and '
                'plain data are read.')
    if isinstance(error, (OSError, ValueError)):
        return text
    text = text.split('WeightsUnpickler error: ')[-1].split(' Check the ')[0]
    return ('it is damaged, or no file of torch or safetensors: '
            f'{text[:120] or type(error).__name__}')


# ---- refusing code before mmengine loads it


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
    """Look into a file, a URL or a folder for code; of a file, load no tensor.

    What is missing or damaged passes: whoever loads it says so. Raises
    ValueError if it holds code; the message names the file and the code.
    """
    try:
        path = fetch(path)
    except ValueError:
        return
    if path.startswith(('http://', 'https://')):
        read_checkpoint(path)
        return
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        names = sorted(os.listdir(path))
        is_hf = any(name in HF_FILES for name in names)
        for name in names:
            if not is_hf or name.endswith(('.bin', '.safetensors')):
                check_checkpoint(os.path.join(path, name))
        return
    try:
        # mapped, no tensor is loaded
        with safe_globals(HARMLESS, only=True):
            if not _is_safetensors(path):
                torch.load(path, 'meta', weights_only=True,
                           mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        raise ValueError(f'the checkpoint {path} is not trusted: '
                         f'{reason(error)} {ADVICE}') from error
    except UNREADABLE:
        return


def _is_safetensors(path: str) -> bool:
    """Whether a file is all of a safetensors, which can hold no code."""
    with open(path, 'rb') as file:
        if file.read(9)[8:] != b'{':
            return False
    import safetensors
    try:
        with safetensors.safe_open(path, 'pt'):
            return True
    except safetensors.SafetensorError:
        return False
