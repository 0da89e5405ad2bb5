"""Evaluate a trained model with any OpenMMLab config.

    python tools/test.py CONFIG CHECKPOINT
    python tools/test.py CONFIG CHECKPOINT --cfg-options data_root=DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import fit_machine
from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.weights import load_model, open_weights, weights_only_loading


def parse_args() -> argparse.Namespace:
    """Take what mmdet's own ``tools/test.py`` takes."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights of the whole model')
    parser.add_argument('--work-dir', help='folder of logs and results')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='execute what checkpoints hold besides tensors and plain data')
    parser.add_argument(
        '--cfg-options', nargs='+', action=TextDictAction, metavar='KEY=VALUE',
        help='override keys of the config; data_root=DIR also sets the '
        'data_root of the data sets')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def build_config(args: argparse.Namespace) -> Config:
    """Write the command line into the config."""
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(
        Path('work_dirs', Path(args.config).stem))
    cfg.load_from, cfg.resume = args.checkpoint, False
    merge_options(cfg, args.cfg_options)
    fit_machine(cfg)
    return cfg


class WholeModelHook(Hook):
    """Load the whole model, or stop: mmengine goes on with what fits."""

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Load, report, and leave mmengine the same to load."""
        if isinstance(runner.model, FullyShardedDataParallel):
            runner.logger.warning('the model is sharded: whether the '
                                  'checkpoint fits is not checked.')
            return
        model, path = unwrap_model(runner), runner._load_from
        report, is_whole = load_model(model, open_weights(checkpoint, path))
        if not is_whole:
            raise ValueError(f'{path} must hold the whole model, got an '
                             f'encoder alone: {report}')
        runner.logger.info(report)
        checkpoint['state_dict'] = model.state_dict()


def main() -> None:
    """Parse, build, test."""
    args = parse_args()
    cfg = build_config(args)
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    with weights_only_loading(cfg.load_from, args.trust_checkpoint):
        runner = build(cfg)
        runner.register_hook(WholeModelHook())
        runner.test()


if __name__ == '__main__':
    main()
