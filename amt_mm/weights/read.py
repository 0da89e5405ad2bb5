"""Read the tensors of a checkpoint; nothing in it is executed."""

from __future__ import annotations

import io
import re
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine import fileio
from torch import Tensor


def _nothing(*args: Any) -> None:
    """Stand in for what a checkpoint would look up or call."""


class _Log:
    """Stand in for mmengine's HistoryBuffer.

    Unpickling one of those writes into what all of them share.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Forget it."""


_ARRAY: Any = np.zeros(0).__reduce__()[0]
# mmengine's checkpoints hold its log beside the weights; it is not needed
LOG_TYPES: tuple[Any, ...] = (
    (_Log, 'mmengine.logging.history_buffer.HistoryBuffer'), np.ndarray,
    np.dtype, np.dtypes.Float64DType, np.dtypes.Int64DType,
    (_nothing, 'builtins.getattr'),
    (_nothing, 'numpy.core.multiarray.scalar'),
    (_nothing, 'numpy._core.multiarray.scalar'),
    (_ARRAY, 'numpy.core.multiarray._reconstruct'),
    (_ARRAY, 'numpy._core.multiarray._reconstruct'))


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
            f'cannot read the checkpoint {path}: {_reason(error)}') from error
    return loaded if isinstance(loaded, dict) else {}


def _reason(error: Exception) -> str:
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
            return load(data)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    with torch.serialization.safe_globals(list(LOG_TYPES)):
        return torch.load(
            io.BytesIO(data), map_location='cpu', weights_only=True)


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, whole or its state dict alone.

    Raises:
        ValueError: If it cannot be read, or holds no tensor.
    """
    loaded = read_checkpoint(path)
    state = loaded.get('state_dict', loaded)
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not state:
        raise ValueError(f'the checkpoint {path} holds no weights.')
    return state
