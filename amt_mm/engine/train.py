"""Train by a config: what tools/train.py does once it has read the options."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.error import URLError

from mmengine.config import Config, ConfigDict
from mmengine.device import is_cuda_available
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from amt_mm.weights import weights_only_loading

from .cost import estimate_cost
from .fit_config import LOADERS
from .hooks.label_check_hook import check_categories
from .launch import graceful_shutdown


def set_loaders(cfg: Config) -> None:
    """Give the loaders of a project the defaults of its own script."""
    defaults = dict(pin_memory=is_cuda_available(), persistent_workers=True)
    # mmdet's and mmseg's images differ in size: mmengine's default is theirs
    if cfg.get('default_scope', 'mmpretrain') == 'mmpretrain':
        defaults.update(collate_fn=dict(type='default_collate'))
    for name in filter(cfg.get, LOADERS):
        cfg[name] = ConfigDict(defaults, **cfg[name])


def run_config(cfg: Config, trusted: bool = False) -> None:
    """Train by a config that fits the machine, and stop gracefully.

    Args:
        cfg (Config): With a ``work_dir`` and a ``launcher``.
        trusted (bool): Whether checkpoints may execute what they hold besides
            tensors and plain data. Defaults to False.

    Raises:
        SystemExit: If there is no training data, or the run was stopped.
    """
    check_data(cfg)
    # what a run left in its own work dir is its own
    is_own = cfg.get('resume', False) is not False and \
        not cfg.get('load_from') and \
        Path(cfg.work_dir, 'last_checkpoint').is_file()
    with graceful_shutdown(cfg.work_dir), weights_only_loading(
            cfg.get('load_from'), trusted or is_own):
        train(cfg)


def check_data(cfg: Config) -> None:
    """Stop if the training images are not where the config looks."""
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    root = dataset.get('data_root')
    if not isinstance(root, str) or not root or '://' in root or \
            dataset.get('download'):
        return
    split = dataset.get('split', '')
    folder = Path(root, split)
    if not folder.is_dir():
        layout = f'{folder}/CLASS/*.JPEG' if split else f'images in {folder}'
        raise SystemExit(
            f'No training data at {folder.absolute()}: the config expects '
            f'{layout}. Put it there, or pass --cfg-options data_root=DIR.')


def check_classes(cfg: Config) -> None:
    """Stop if a COCO file lacks classes of the config."""
    dataset = cfg.train_dataloader.dataset
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if path.suffix == '.json' and path.is_file() and 'metainfo' in dataset:
        check_categories(str(path), dataset.metainfo.classes)


def train(cfg: Config) -> None:
    """Print the plan of the run, and train."""
    is_amt = 'amt_mm' in str(cfg.model.get('type'))
    # worked out first, so that a config that makes no sense stops here
    tasks = os.environ.get('SLURM_NTASKS', 1) if cfg.launcher == 'slurm' else 1
    world_size = int(os.environ.get('WORLD_SIZE', tasks))
    plan = estimate_cost(cfg, world_size) if is_amt else None
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = build(cfg)
    hide_parameters(runner)
    if plan:
        runner.logger.info(str(plan))
    try:
        runner.train()
    except URLError as error:
        raise SystemExit(
            f'There is no data set in {cfg.get("data_root")}, and it could '
            f'not be downloaded ({error.reason}): place it there by hand.'
        ) from error
    except ValueError:  # mmdet's, where no class has an annotation
        check_classes(cfg)
        raise


def hide_parameters(runner: Runner) -> None:
    """Leave the optimiser's settings of each parameter to the log file."""
    for handler in runner.logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(lambda record: not record.getMessage(
                ).startswith('paramwise_options'))
