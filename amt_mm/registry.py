"""Registries of the scope ``amt_mm``, children of mmengine's root registries.

A config names a class of ours ``amt_mm.X``: mmengine then imports this module,
and the module in ``locations`` when it looks the class up, so a config needs
no ``custom_imports``.
"""

from __future__ import annotations

from mmengine import registry as root
from mmengine.registry import Registry

from .compatibility import let_configs_inherit_mmseg

let_configs_inherit_mmseg()


def _child(parent: Registry, location: str) -> Registry:
    return Registry(
        parent.name,
        parent=parent,
        scope='amt_mm',
        locations=[f'amt_mm.{location}'])


MODELS = _child(root.MODELS, 'models')
DATASETS = _child(root.DATASETS, 'datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')
FUNCTIONS = _child(root.FUNCTIONS, 'datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'datasets')
HOOKS = _child(root.HOOKS, 'engine')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
# apart, as few runs need it
STRATEGIES = _child(root.STRATEGIES, 'engine.fsdp_strategy')
# apart, as it needs mmdet
METRICS = _child(root.METRICS, 'evaluation.lvis_metric')
TASK_UTILS = _child(root.TASK_UTILS, 'masking')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'weights')
# mmengine has no such node: a tree of its own, looked up by name alone
SALIENCY_SOURCES = Registry(
    'saliency source', scope='amt_mm', locations=['amt_mm.engine'])
