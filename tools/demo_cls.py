"""Linear probing and fine-tuning of a small ViT, in minutes on two CPU cores.

    python tools/demo_cls.py                     after tools/demo.py
    python tools/demo_cls.py --checkpoint FILE   from another ViT-Ti/8 of 64 px
    python tools/demo_cls.py --data DIR          on DIR/{train,val}/CLASS/*
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from mmpretrain.datasets.custom import find_folders

from amt_mm.datasets.demo_data import write_demo_data
from amt_mm.engine.fit_config import fit_machine, move_data_root

CONFIGS = Path(__file__).parents[1] / 'configs' / 'classification'
RECIPES = ('linear', 'finetune')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--checkpoint',
        type=Path,
        default='work_dirs/demo/epoch_30.pth',
        help='pre-trained weights (default: %(default)s)')
    parser.add_argument(
        '--data',
        type=Path,
        help='folder of train/ and val/ with a folder per class (default: '
        'generate some)')
    parser.add_argument('--work-dir', type=Path, default='work_dirs/demo_cls')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def top1(recipe: str, checkpoint: Path | None, data_root: Path,
         args: argparse.Namespace) -> float:
    """Train with a recipe and return the accuracy of the last epoch."""
    cfg = Config.fromfile(CONFIGS / f'vit-t_{recipe}_demo.py')
    old_root, cfg.data_root = cfg.data_root, str(data_root)
    move_data_root(cfg, old_root)
    cfg.model.head.num_classes = len(find_folders(str(data_root / 'train'))[0])
    if checkpoint:
        cfg.model.backbone.init_cfg.checkpoint = str(checkpoint)
    else:
        cfg.model.backbone.init_cfg = None
    weights = 'pretrained' if checkpoint else 'random'
    cfg.work_dir = str(args.work_dir / f'{recipe}_{weights}')
    cfg.merge_from_dict(args.cfg_options or {})
    fit_machine(cfg)
    cfg.log_level, cfg.randomness = 'ERROR', dict(seed=0)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
    cfg.experiment_name = f'{recipe}_{weights}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.message_hub.get_scalar('val/accuracy/top1').current()


def main() -> None:
    """Run both recipes from the checkpoint and from random weights."""
    args = parse_args()
    data_root = args.data or write_demo_data(args.work_dir / 'data')
    if args.checkpoint.is_file():
        starts = {'pre-trained': args.checkpoint, 'random': None}
        sys.stdout.write(f'pre-trained weights: {args.checkpoint}\n')
    else:
        starts = {'random': None}
        sys.stdout.write(
            f'no checkpoint {args.checkpoint}: from random weights only; '
            'make one with tools/demo.py\n')
    for recipe in RECIPES:
        for name, checkpoint in starts.items():
            accuracy = top1(recipe, checkpoint, data_root, args)
            sys.stdout.write(f'{recipe} from {name} weights: top-1 '
                             f'{accuracy:.1f}\n')
            sys.stdout.flush()


if __name__ == '__main__':
    main()
