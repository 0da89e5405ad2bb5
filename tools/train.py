"""Pre-train, fine-tune or train with any OpenMMLab config.

    python tools/train.py configs/mae_amt_vit-b_400e_in1k.py
    python tools/train.py configs/mae_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config

from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import LOADERS, fit_machine
from amt_mm.engine.train import run_config, set_loaders


def parse_args() -> argparse.Namespace:
    """Take what mmpretrain's own ``tools/train.py`` takes."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='folder of logs, checkpoints and saliency '
        '(default: work_dirs/NAME_OF_CONFIG)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on with the run of a checkpoint; without one named, with the '
        'run in the work dir')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='execute what checkpoints hold besides tensors and plain data')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision: bfloat16 where the device has it')
    parser.add_argument(
        '--no-validate', action='store_true', help='skip the validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size')
    parser.add_argument('--no-pin-memory', action='store_true')
    parser.add_argument('--no-persistent-workers', action='store_true')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=TextDictAction,
        metavar='KEY=VALUE',
        help='override keys of the config; data_root=DIR also sets the '
        'data_root of the data sets')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none')
    # torch.distributed.launch passes one spelling or the other
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault(
        'LOCAL_RANK',
        os.environ.get('OMPI_COMM_WORLD_LOCAL_RANK', str(args.local_rank)))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> None:
    """Write the command line into the config."""
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        cfg.optim_wrapper.type = 'amt_mm.AutoPrecisionOptimWrapper'
    if args.auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise SystemExit('--auto-scale-lr needs '
                             'auto_scale_lr.base_batch_size in the config.')
        cfg.auto_scale_lr.enable = True
    set_loaders(cfg)
    for name in filter(cfg.get, LOADERS):
        if args.no_pin_memory:
            cfg[name].pin_memory = False
        if args.no_persistent_workers:
            cfg[name].persistent_workers = False
    merge_options(cfg, args.cfg_options)
    set_start(cfg, args)
    fit_machine(cfg)


def set_start(cfg: Config, args: argparse.Namespace) -> None:
    """Go on with a run by --resume; begin one by load_from.

    With ``AtomicCheckpointHook``, None goes on with the run in the work dir
    and, where there is none, begins one from load_from.
    """
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    is_atomic = str(checkpoint.get('type')).endswith('AtomicCheckpointHook')
    is_asked = 'resume' in (args.cfg_options or {})
    if args.resume and args.resume != 'auto':
        cfg.resume, cfg.load_from = True, args.resume
    elif args.resume:
        cfg.resume = None if is_atomic else True
        cfg.load_from = cfg.get('load_from') if is_atomic else None
    elif cfg.get('resume') and cfg.get('load_from') and not is_asked:
        cfg.resume = None if is_atomic else False


def main() -> None:
    """Parse, build, run."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    merge_args(cfg, args)
    run_config(cfg, args.trust_checkpoint)


if __name__ == '__main__':
    main()
