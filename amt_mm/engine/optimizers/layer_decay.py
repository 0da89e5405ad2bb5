"""Layer-wise learning rates for detectors and segmentors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mmpretrain.engine.optimizers import (
    LearningRateDecayOptimWrapperConstructor,
)
from torch import nn

from amt_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


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
