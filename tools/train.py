"""Pre-train, fine-tune or train with any OpenMMLab config.

    python tools/train.py configs/mae_amt_vit-b_400e_in1k.py
    python tools/train.py configs/mae_amt_vit-s_custom.py \
        --cfg-options data_root=DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from urllib.error import URLError

from mmengine.config import Config, ConfigDict
from mmengine.device import is_cuda_available
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from amt_mm.engine import estimate_cost
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import LOADERS, fit_machine
from amt_mm.engine.hooks.label_check_hook import check_categories
from amt_mm.engine.launch import graceful_shutdown
from amt_mm.weights import weights_only_loading


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
    set_loaders(cfg, args)
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


def set_loaders(cfg: Config, args: argparse.Namespace) -> None:
    """Give the loaders of a project the defaults of its own script."""
    defaults = dict(pin_memory=is_cuda_available(), persistent_workers=True)
    # mmdet's and mmseg's images differ in size: mmengine's default is theirs
    if cfg.get('default_scope', 'mmpretrain') == 'mmpretrain':
        defaults.update(collate_fn=dict(type='default_collate'))
    for name in filter(cfg.get, LOADERS):
        cfg[name] = ConfigDict(defaults, **cfg[name])
        if args.no_pin_memory:
            cfg[name].pin_memory = False
        if args.no_persistent_workers:
            cfg[name].persistent_workers = False


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


def main() -> None:
    """Parse, build, run."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    merge_args(cfg, args)
    check_data(cfg)
    # what a run left in its own work dir is its own
    is_own = cfg.get('resume', False) is not False and \
        not cfg.get('load_from') and \
        Path(cfg.work_dir, 'last_checkpoint').is_file()
    with graceful_shutdown(cfg.work_dir), weights_only_loading(
            cfg.get('load_from'), args.trust_checkpoint or is_own):
        train(cfg)


def train(cfg: Config) -> None:
    """Print the plan of the run, and train."""
    is_amt = 'amt_mm' in str(cfg.model.get('type'))
    # worked out first, so that a config that makes no sense stops here
    tasks = os.environ.get('SLURM_NTASKS', 1) if cfg.launcher == 'slurm' else 1
    world_size = int(os.environ.get('WORLD_SIZE', tasks))
    plan = estimate_cost(cfg, world_size) if is_amt else None
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = build(cfg)
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


if __name__ == '__main__':
    main()
