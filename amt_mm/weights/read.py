"""Read the tensors of a checkpoint; nothing in it is executed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine import fileio
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch import Tensor

from amt_mm.compatibility import safe_globals


def _nothing(*args: Any) -> None:
    """Stand in for what a checkpoint would look up or call."""


class _Log:
    """Stand in for mmengine's HistoryBuffer.

    Unpickling one of those writes into what all of them share.
    """

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

    By way of other attributes one comes to all that Python has, as by
    ``getattr(getattr, '__self__').exec``. A stand-in has none.
    """
    if not isinstance(owner, type) or name not in METHODS.get(owner, ()):
        raise UnpicklingError(f'GLOBAL builtins.getattr of {name!r}')
    return getattr(owner, name, None)


_ARRAY: Any = np.zeros(0).__reduce__()[0]
# mmengine's checkpoints hold its log beside the weights; it is not needed
LOG_TYPES: tuple[Any, ...] = (
    (_Log, 'mmengine.logging.history_buffer.HistoryBuffer'), np.ndarray,
    np.dtype, np.dtypes.Float64DType, np.dtypes.Int64DType,
    (_OneCycle, 'mmengine.optim.scheduler.param_scheduler.'
     'OneCycleParamScheduler'), (saved_method, 'builtins.getattr'),
    (_nothing, 'numpy.core.multiarray.scalar'),
    (_nothing, 'numpy._core.multiarray.scalar'),
    (_ARRAY, 'numpy.core.multiarray._reconstruct'),
    (_ARRAY, 'numpy._core.multiarray._reconstruct'))


@contextmanager
def log_types_only() -> Iterator[None]:
    """Let ``torch.load`` take :data:`LOG_TYPES` and nothing else.

    What others allowed goes by the same names as our stand-ins.
    """
    with safe_globals(LOG_TYPES, only=True):
        yield


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read the tensors and plain data of a file or URL.

    Raises:
        ValueError: If it is missing, damaged, or holds code.
    """
    try:
        loaded = _load(path)
    except (OSError, RuntimeError, EOFError, UnpicklingError,
            ValueError) as error:
        raise ValueError(
            f'cannot read the checkpoint {path}: {reason(error)}') from error
    return loaded if isinstance(loaded, dict) else {}


def reason(error: Exception) -> str:
    """Say why, without torch's advice to read the file unsafely."""
    text = ' '.join(str(error).split())
    code = re.search(r'GLOBAL (\S+)', text)
    if code:
        return (f'it holds the pickled code {code[1]}, and only tensors and '
                'plain data are read.')
    return text.split('WeightsUnpickler error: ')[-1][:200]


def _load(path: str) -> Any:
    data = fileio.get(path)
    if str(path).endswith('.safetensors'):
        from safetensors import SafetensorError
        from safetensors.torch import load
        try:
            return dict(state_dict=load(data), meta=_header(data))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    with log_types_only():
        return torch.load(
            io.BytesIO(data), map_location='cpu', weights_only=True)


def _header(data: bytes) -> dict[str, str]:
    """Return the strings that lie beside the tensors of a safetensors."""
    length = int.from_bytes(data[:8], 'little')
    return json.loads(data[8:8 + length]).get('__metadata__') or {}


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, whole or its state dict alone.

    Raises:
        ValueError: If it cannot be read, or holds no tensor.
    """
    return tensors_of(read_checkpoint(path), path)


def tensors_of(checkpoint: dict[str, Any], path: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that was read.

    Raises:
        ValueError: If it holds none.
    """
    state = checkpoint.get('state_dict', checkpoint)
    state = state if isinstance(state, dict) else {}
    state = {
        key.removeprefix('module.'): value  # of a distributed wrapper
        for key, value in state.items() if isinstance(value, Tensor)
    }
    if not state:
        raise ValueError(f'the checkpoint {path} holds no weights.')
    return state


def meta_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of its tensors."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}
