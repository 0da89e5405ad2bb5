"""What not every supported torch, mmengine or mmseg has.

Each is asked for by what is there, not by its version; the comment names the
version that ends it. torch is imported late, as ``import amt_mm`` is light.
"""

from __future__ import annotations

import _compat_pickle
import codecs
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any


# the originals; not onedl-mmsegmentation
def let_configs_inherit_mmseg() -> None:
    """Let ``_base_ = 'mmseg::...'`` find the continuation too."""
    from mmengine.config.utils import MODULE2PACKAGE
    try:
        version('mmsegmentation')
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


# torch 2.6
@contextmanager
def safe_globals(allowed: Iterable[Any], only: bool = False) -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` take what is allowed as well.

    With ``only``, what others allowed is left out meanwhile. An item is a
    class, a function, or (object, name).
    """
    from torch import serialization
    allowed = list(allowed)
    if not hasattr(serialization, 'get_unsafe_globals_in_checkpoint'):
        before = serialization._weights_only_unpickler
        serialization._weights_only_unpickler = _restricted_pickle(allowed)
        try:
            yield
        finally:
            serialization._weights_only_unpickler = before
        return
    others = serialization.get_safe_globals() if only else []
    if only:
        serialization.clear_safe_globals()
    try:
        with serialization.safe_globals(allowed):
            yield
    finally:
        serialization.add_safe_globals(others)


def _restricted_pickle(allowed: list[Any]) -> Any:
    """Return what reads weights only, by names, for torch before 2.6."""
    from torch import _weights_only_unpickler
    known = {**_weights_only_unpickler._get_allowed_globals(),
             '_codecs.encode': codecs.encode, 'collections.Counter': Counter}
    for item in allowed:
        thing, name = item if isinstance(item, tuple) else (
            item, f'{item.__module__}.{item.__qualname__}')
        known[name] = thing

    class Unpickler(pickle.Unpickler):

        def find_class(self, module: str, name: str) -> Any:
            # torch writes the names of Python 2
            module, name = _compat_pickle.NAME_MAPPING.get(
                (module, name),
                (_compat_pickle.IMPORT_MAPPING.get(module, module), name))
            try:
                return known[f'{module}.{name}']
            except KeyError:
                raise pickle.UnpicklingError(
                    f'GLOBAL {module}.{name}') from None

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    return SimpleNamespace(Unpickler=Unpickler, load=load)


# mmengine 0.10.8
def mmengine_safe_globals() -> list[Any]:
    """Return what the checkpoint of a run of mmengine holds."""
    from mmengine.runner import checkpoint
    if hasattr(checkpoint, 'get_torch_safe_globals'):
        return list(checkpoint.get_torch_safe_globals())
    import numpy as np
    from mmengine.logging import HistoryBuffer
    return [
        HistoryBuffer, np.ndarray, np.dtype, slice, getattr,
        np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0],
        *(type(np.dtype(kind)) for kind in ('u4', 'i8', 'f8'))]


# torch 2.4
def flop_counter(module: Any) -> Any:
    """Return a counter that also counts a module apart, by its class."""
    from torch.utils.flop_counter import FlopCounterMode
    counter = FlopCounterMode(display=False)
    # later, it counts all modules apart, and warns about one that is named
    if not hasattr(counter, 'mod_tracker') and module is not None:
        counter = FlopCounterMode(module, display=False)
    return counter


# torch 2.7
def inductor_error() -> type[Exception]:
    """Return the class of what inductor raises where it cannot compile."""
    from torch import _dynamo, _inductor
    return getattr(_inductor.exc, 'InductorError',
                   _dynamo.exc.BackendCompilerFailed)


# torch 2.6
def computes_bfloat16() -> bool:
    """Whether the CUDA device computes in bfloat16, not merely emulates it."""
    from torch.cuda import is_bf16_supported
    try:
        return is_bf16_supported(including_emulation=False)
    except TypeError:  # it has no such argument, and counts no emulation
        return is_bf16_supported()


# torch 2.4
def has_amx() -> bool:
    """Whether oneDNN multiplies bfloat16 on matrix units of this CPU.

    ``ONEDNN_MAX_CPU_ISA``, a variable of oneDNN, can forbid it their use.
    """
    import torch
    allowed = os.environ.get('ONEDNN_MAX_CPU_ISA', 'DEFAULT').upper()
    return (allowed == 'DEFAULT' or 'AMX' in allowed) and all(
        getattr(torch.cpu, name, bool)()
        for name in ('_is_amx_tile_supported', '_init_amx'))
