"""How the parameters of a model are optimised."""

from .auto_precision import AutoPrecisionOptimWrapper
from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['AutoPrecisionOptimWrapper', 'LayerDecayOptimWrapperConstructor']
