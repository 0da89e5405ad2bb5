"""How a model is optimised: precision, and layer-wise rates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.engine.optimizers import (
    LearningRateDecayOptimWrapperConstructor,
)
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from amt_mm.arguments import check_choice
from amt_mm.compatibility import computes_bfloat16, has_amx
from amt_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

__all__ = ['AutoPrecisionOptimWrapper', 'LayerDecayOptimWrapperConstructor']

DTYPES = 'bfloat16', 'float16', 'float32'
FUSED_ON = {'cuda', 'cpu'}  # where it is tested


def has_accelerator() -> bool:
    """Whether mmengine trains in mixed precision on this machine."""
    return get_device() in ('cuda', 'npu', 'mlu', 'musa')


def has_bfloat16() -> bool:
    """Whether the device computes in bfloat16, not merely emulates it."""
    if not has_accelerator():
        return has_amx()
    return torch.cuda.is_available() and computes_bfloat16()


def best_dtype() -> str:
    """Return what ``AutoPrecisionOptimWrapper`` trains in if not told."""
    if has_bfloat16():
        return 'bfloat16'
    return 'float16' if has_accelerator() else 'float32'


def fuse(optimizer: Optimizer) -> Optimizer:
    """Return an optimiser in one kernel, where torch has one for the device.

    On a GPU it can also skip a step without the host waiting. A config that
    sets ``fused`` or ``foreach`` keeps its choice.
    """
    defaults, groups = optimizer.defaults, optimizer.param_groups
    devices = {p.device.type for g in groups for p in g['params']}
    if (type(optimizer) not in (Adam, AdamW, SGD) or 'fused' not in defaults
            or (defaults['fused'], defaults['foreach']) != (None, None)
            or not devices <= FUSED_ON.intersection(
                _get_fused_kernels_supported_devices())):
        return optimizer
    print_log(f'{type(optimizer).__name__} runs as one fused kernel; '
              'optim_wrapper.optimizer.fused=False turns that off', 'current')
    known = inspect.signature(type(optimizer)).parameters
    arguments = {k: v for k, v in defaults.items() if k in known}
    return type(optimizer)([dict(group, fused=True) for group in groups],
                           **dict(arguments, fused=True))


class _Portable(OptimWrapper):
    """Resume from checkpoints of another precision or device."""

    def state_dict(self) -> dict:
        """Leave out that the optimiser is fused, which the device decides."""
        state = super().state_dict()
        for group in state['param_groups']:
            if 'fused' in group:
                group['fused'] = None
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on with a fresh loss scale where the checkpoint has none."""
        if not state_dict.get('loss_scaler'):
            state_dict.pop('loss_scaler', None)
        own = self.optimizer.param_groups
        for group, now in zip(state_dict['param_groups'], own, strict=False):
            if 'fused' in now:
                group['fused'] = now['fused']
        super().load_state_dict(state_dict)


class _PortableAmp(_Portable, AmpOptimWrapper):
    """The same in mixed precision."""


class _PortableOnCPU(_Portable):
    """The same in bfloat16 on a CPU, for which mmengine has no wrapper."""

    cast_dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in bfloat16; weights and gradients are float32."""
        with super().optim_context(model), torch.autocast(
                'cpu', self.cast_dtype):
            yield


@OPTIM_WRAPPERS.register_module()
def AutoPrecisionOptimWrapper(  # noqa: N802 (configs name it as a class)
        clip_grad: dict[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
        **kwargs: Any) -> OptimWrapper:
    """Train in bfloat16, float16 or float32, as the device allows.

    bfloat16 has the range of float32 and needs no loss scale; a CPU trains in
    it where it has matrix units (Intel's AMX), as without them it is slower
    than float32. float16 gets a dynamic loss scale and clipped gradients; it
    needs an accelerator. Adam, AdamW and SGD are fused, on a CPU from torch
    2.4 on, unless the config sets ``fused`` or ``foreach``.

    Args:
        clip_grad (dict, optional): As in mmengine's ``OptimWrapper``.
            Defaults to ``dict(max_norm=3.)`` in float16, else to none.
        dtype (str | torch.dtype, optional): ``'bfloat16'``, ``'float16'`` or
            ``'float32'``. One that a CPU cannot compute fast in becomes
            float32, which the log says. Defaults to what is best on the
            device.
        **kwargs: Those of :class:`mmengine.optim.AmpOptimWrapper`.

    Returns:
        OptimWrapper: One of mmengine's kinds, as the rest of it expects.

    Raises:
        ValueError: If the ``dtype`` is no such name.
    """
    kwargs['optimizer'] = fuse(kwargs['optimizer'])
    best, on_cpu = best_dtype(), not has_accelerator()
    asked = check_choice(
        'dtype', str(dtype or best).removeprefix('torch.'), DTYPES)
    dtype = 'float32' if on_cpu and asked != best else asked
    if dtype != asked:
        print_log(f'optim_wrapper.dtype {asked}: this CPU has no matrix units '
                  'for it: training in float32.', 'current')
    if on_cpu or dtype == 'float32':
        for name in ('loss_scale', 'use_fsdp'):
            kwargs.pop(name, None)
    if dtype == 'float32':
        return _Portable(clip_grad=clip_grad, **kwargs)
    if on_cpu:
        print_log('training in bfloat16 on the matrix units of this CPU; '
                  "optim_wrapper.dtype='float32' turns that off", 'current')
        return _PortableOnCPU(clip_grad=clip_grad, **kwargs)
    if dtype == 'bfloat16':
        kwargs['loss_scale'] = dict(enabled=False)
    elif clip_grad is None:
        clip_grad = dict(max_norm=3.)
    return _PortableAmp(clip_grad=clip_grad, dtype=dtype, **kwargs)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(
        LearningRateDecayOptimWrapperConstructor):
    """Layer-wise decay for any model whose ``backbone`` knows its depths.

    mmpretrain asks the whole model for ``get_layer_depth``, which detectors
    and segmentors do not have. Here their backbone answers; every parameter
    outside of it keeps the full rate.

    Example:

    .. code:: python

        optim_wrapper = dict(
            constructor='amt_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.7))
    """

    def add_params(self,
                   params: list[dict],
                   module: nn.Module,
                   prefix: str = '',
                   get_layer_depth: Callable | None = None,
                   **kwargs: Any) -> None:
        """Add the parameters of a module, with the depths of its backbone."""
        if get_layer_depth is None and not hasattr(module, 'get_layer_depth'):
            depth = getattr(
                getattr(module, 'backbone', None), 'get_layer_depth', None)
            get_layer_depth = depth and partial(depth, prefix='backbone.')
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
