"""Use a pre-trained encoder for a task, beside one with random weights.

    python tools/demo_transfer.py cls    after tools/demo.py
    python tools/demo_transfer.py det --checkpoint FILE
    python tools/demo_transfer.py seg
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from mmengine.config import Config

from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import fit_machine, move_data_root
from amt_mm.engine.quiet_runner import build_quiet_runner

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.demo.demo_data import write_demo_data  # noqa: E402

CONFIGS = Path(__file__).parents[1] / 'configs'
# config -> what is reported of it
TASKS = dict(
    cls={
        'classification/vit-mini_linear_demo.py': ['accuracy/top1'],
        'classification/vit-mini_finetune_demo.py': ['accuracy/top1'],
    },
    det={
        'detection/mask-rcnn_vitdet-mini_demo.py':
        ['coco/bbox_mAP_50', 'coco/segm_mAP_50'],
    },
    seg={'segmentation/upernet_vit-mini_demo.py': ['mIoU']})
SHOWN = ('(train)', 'encoder loaded')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=TASKS)
    parser.add_argument(
        '--checkpoint',
        type=Path,
        default='work_dirs/demo/epoch_45.pth',
        help='pre-trained weights (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, default='work_dirs/demo')
    parser.add_argument('--cfg-options', nargs='+', action=TextDictAction)
    args = parser.parse_args()
    if not args.checkpoint.is_file():
        parser.error(f'there is no checkpoint {args.checkpoint}: make it with '
                     'tools/demo.py, or name one with --checkpoint.')
    return args


def build_config(path: Path, checkpoint: Path | None, data_root: Path,
                 args: argparse.Namespace) -> Config:
    """Start a config from a checkpoint, or from random weights."""
    cfg = Config.fromfile(path)
    old_root, cfg.data_root = cfg.data_root, str(data_root)
    move_data_root(cfg, old_root)
    cfg.model.backbone.init_cfg.checkpoint = str(checkpoint)
    if not checkpoint:
        cfg.model.backbone.init_cfg = None
    name = f'{path.stem}_{"pretrained" if checkpoint else "random"}'
    cfg.work_dir, cfg.experiment_name = str(args.work_dir / name), name
    cfg.randomness = dict(seed=0)
    merge_options(cfg, args.cfg_options)
    fit_machine(cfg)
    return cfg


def train(cfg: Config, metrics: list[str]) -> str:
    """Train and report what was reached."""
    runner = build_quiet_runner(cfg, SHOWN)
    start = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - start
    scalars = runner.message_hub.log_scalars
    # mmdet reports no precision where nothing was detected
    reached = (f'{m} {scalars[f"val/{m}"].current():.4g}'
               if f'val/{m}' in scalars else f'{m} none' for m in metrics)
    return f'{", ".join(reached)} ({seconds:.0f} s)'


def main() -> None:
    """Train each recipe of the task twice and compare."""
    args = parse_args()
    data_root = write_demo_data(args.work_dir / 'data')
    lines = []
    for name, metrics in TASKS[args.task].items():
        for checkpoint in (args.checkpoint, None):
            cfg = build_config(CONFIGS / name, checkpoint, data_root, args)
            lines.append(f'{Path(name).stem} from '
                         f'{checkpoint or "random weights"}: '
                         f'{train(cfg, metrics)}')
    where = f'logs and pictures: {args.work_dir.resolve()}'
    sys.stdout.write('\n'.join(['', *lines, where, '']))


if __name__ == '__main__':
    main()
