"""Fit a config to the machine it runs on and to where its data lie."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from .launch import join_on_cpu
from .optimizers.auto_precision import has_accelerator

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = ('val_evaluator', 'test_evaluator')


def move_data_root(cfg: Config, old_root: str | None) -> None:
    """Let what was below the config's old data_root follow the new."""
    for name in filter(cfg.get, LOADERS):
        dataset = cfg[name].get('dataset')
        while dataset:
            if dataset.get('data_root') == old_root:
                dataset.data_root = cfg.data_root
            dataset = dataset.get('dataset')
    for name in filter(cfg.get, EVALUATORS):
        evaluators = cfg[name] if isinstance(cfg[name], list) else [cfg[name]]
        for evaluator in evaluators:
            path = evaluator.get('ann_file')
            if path and old_root and Path(path).is_relative_to(old_root):
                evaluator.ann_file = str(
                    Path(cfg.data_root, Path(path).relative_to(old_root)))


def fit_machine(cfg: Config) -> None:
    """Fall back to what this machine can do, and say so."""
    compile_the_loss(cfg)
    for name in filter(cfg.get, LOADERS):
        if not cfg[name].get('num_workers'):
            cfg[name].persistent_workers = False  # torch refuses the pair
    if has_accelerator():
        return
    join_on_cpu(cfg)
    wrapper = cfg.optim_wrapper
    if wrapper.get('type') == 'AmpOptimWrapper':
        print_log(
            'mixed precision needs an accelerator and there is none: '
            'training in float32.',
            logger='current',
            level=logging.WARNING)
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)


def compile_the_loss(cfg: Config) -> None:
    """Have ``compile`` mean the loss of a model of ours, not ``train_step``.

    That holds data samples, hooks and the optimiser, of which torch makes many
    graphs, some of them anew and anew.
    """
    model = cfg.get('model')
    if cfg.get('compile') and model and str(
            model.get('type')).startswith('amt_mm.AMT'):
        model.compile_loss = cfg.pop('compile')
        print_log('compile: of the model, the loss given the plan is '
                  'compiled (model.compile_loss).', logger='current')
