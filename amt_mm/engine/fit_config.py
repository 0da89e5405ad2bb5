"""Adapt a config to the machine and to the location of the data."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from .launch import init_gloo
from .optimizers import has_accelerator

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = ('val_evaluator', 'test_evaluator')


def move_data_root(cfg: Config, old_root: str | None) -> None:
    """Let what was below the config's old data_root follow the new.

    Where the config had none, the data sets without a ``data_root`` of their
    own get the new one.
    """
    datasets = [dataset for name in filter(cfg.get, LOADERS)
                for dataset in without_wrappers(cfg[name].get('dataset'))]
    moved = 0
    for dataset in datasets:
        path = dataset.get('data_root')
        new = cfg.data_root if path is None and old_root is None else \
            _moved(path, old_root, cfg.data_root)
        if new is not None:
            dataset.data_root = new
            moved += 1
    if datasets and not moved:
        roots = sorted({str(d.get('data_root')) for d in datasets})
        print_log(
            f'data_root={cfg.data_root} changes no data set: theirs is '
            f'{", ".join(roots)}, which is not below the data_root '
            f'{old_root} of the config.',
            logger='current',
            level=logging.WARNING)
    for name in filter(cfg.get, EVALUATORS):
        evaluators = cfg[name] if isinstance(cfg[name], list) else [cfg[name]]
        for evaluator in evaluators:
            path = _moved(evaluator.get('ann_file'), old_root, cfg.data_root)
            if path is not None:
                evaluator.ann_file = path


def without_wrappers(node: Any) -> Iterator[Any]:
    """Yield the configs of data sets inside of RepeatDataset and such."""
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from without_wrappers(child)
    elif node and ('dataset' in node or 'datasets' in node):
        yield from without_wrappers(
            [node.get('dataset'), node.get('datasets')])
    elif node:
        yield node


def _moved(path: Any, old_root: str | None, new_root: str) -> str | None:
    """Return where a path below the old root is now; None if it is not."""
    if not (isinstance(path, str) and old_root):
        return None
    old = old_root.rstrip('/')
    if path.rstrip('/') == old:
        return new_root
    if path.startswith(f'{old}/'):
        if not isinstance(new_root, str):
            raise ValueError(
                'data_root can be a list of folders only where the data sets '
                f'have it as their own, got {new_root} for {path}.')
        return os.path.join(new_root, path[len(old) + 1:])
    return None


def fit_machine(cfg: Config) -> None:
    """Fall back to what this machine can do, and log it."""
    compile_the_loss(cfg)
    for name in filter(cfg.get, LOADERS):
        if not cfg[name].get('num_workers'):
            cfg[name].persistent_workers = False  # torch refuses the pair
    if has_accelerator():
        return
    init_gloo(cfg)
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type')
    if kind == 'AmpOptimWrapper':
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    elif kind == 'amt_mm.AutoPrecisionOptimWrapper' and not is_ours(cfg):
        # mmcv's operators know no bfloat16 on a CPU
        wrapper.dtype = 'float32'
    else:
        return
    print_log(
        'mixed precision of this model needs an accelerator and there is '
        'none: training in float32.', logger='current', level=logging.WARNING)


def is_ours(cfg: Config) -> bool:
    """Whether a config trains a model of this package."""
    return str((cfg.get('model') or {}).get('type')).startswith('amt_mm.AMT')


def compile_the_loss(cfg: Config) -> None:
    """Have ``compile`` mean the loss of a model of ours, not ``train_step``.

    That holds data samples, hooks and the optimiser, of which torch makes many
    graphs, some of them anew and anew.
    """
    if cfg.get('compile') and is_ours(cfg):
        cfg.model.compile_loss = cfg.pop('compile')
        print_log('compile: the loss given the plan is compiled '
                  '(model.compile_loss), not the whole model.',
                  logger='current')
