"""Registries of the scope ``amt_mm``, children of mmengine's root registries.

A config names a class of ours ``amt_mm.X``: mmengine then imports this module,
and the module in ``locations`` when it looks the class up, so a config needs
no ``custom_imports``.
"""

from __future__ import annotations

from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry

from .arguments import check_config, error_context
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
VISBACKENDS = _child(root.VISBACKENDS, 'visualization')
VISUALIZERS = _child(root.VISUALIZERS, 'visualization')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'weights')


def build_argument(cfg: dict[str, Any], name: str | None = None, *,
                   registry: Registry) -> Any:
    """Build what an argument describes by a class of a registry.

    Raises KeyError with the registered names if there is no such class, and
    TypeError if ``cfg`` is no config or names a strategy of another kind.
    """
    name = name or registry.name
    args = dict(check_config(name, cfg))
    args.pop('_scope_', None)
    wanted = args.pop('type')
    cls = registry.get(wanted) if isinstance(wanted, str) else wanted
    is_other = any(cls in kind.module_dict.values() for kind in
                   (ORDERINGS, LAYOUTS, SCHEDULES) if kind is not registry)
    if cls is None or is_other:
        names = sorted(f'amt_mm.{key}' for key in registry.module_dict)
        error = TypeError if is_other else KeyError
        raise error(f'{name} must be one of {names}, got {wanted!r}.')
    with error_context(f'cannot build {name} from', cfg):
        return cls(**args)


class StrategyRegistry(Registry):
    """One kind of masking strategy: a tree of its own.

    Once, all kinds were registered in ``TASK_UTILS``: it still has them.
    """

    def _register_module(self, *args: Any, **kwargs: Any) -> None:
        super()._register_module(*args, **kwargs)
        TASK_UTILS._register_module(*args, **kwargs)

    def get(self, key: str) -> type | None:
        """Return the class of a name, None if there is none."""
        found = super().get(key)
        return TASK_UTILS.get(key) if found is None else found


def _apart(cls: type[Registry], name: str, location: str) -> Registry:
    """Make a registry of what mmengine has no registry for."""
    return cls(name, build_func=build_argument, scope='amt_mm',
               locations=[f'amt_mm.{location}'])


ORDERINGS = _apart(StrategyRegistry, 'ordering', 'masking')
LAYOUTS = _apart(StrategyRegistry, 'layout', 'masking')
SCHEDULES = _apart(StrategyRegistry, 'schedule', 'masking')
SALIENCY_SOURCES = _apart(Registry, 'source', 'engine')
