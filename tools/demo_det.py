"""Fine-tune the encoder of the demo to detect and segment objects.

    make demo
    python tools/demo_det.py             from the encoder that the demo trained
    python tools/demo_det.py --checkpoint FILE
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

from amt_mm.datasets.demo_data import write_demo_data
from amt_mm.engine.fit_config import fit_machine

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs' / 'detection' / 'mask-rcnn_vitdet-t_demo.py'
CHECKPOINT = Path('work_dirs', 'demo', 'epoch_30.pth')
NUM_TRAIN, NUM_VAL, NUM_SHOWN = 200, 50, 6
SHOWN = ('Iter(train)', 'encoder loaded', 'no checkpoint')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--checkpoint',
        type=Path,
        help=f'pre-trained encoder (default: {CHECKPOINT} where it exists, '
        'else random weights)')
    parser.add_argument('--work-dir', type=Path, default='work_dirs/demo_det')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def set_data(cfg: Config, root: Path) -> None:
    """Let the config read the demo data under a folder."""
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.data_root = str(root)
    for part in ('val', 'test'):
        cfg[f'{part}_evaluator'].ann_file = str(root / cfg.val_ann)


def build_runner(args: argparse.Namespace, data_root: Path) -> Runner:
    """Build the runner, quiet but for what a spectator wants to read."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(args.work_dir)
    set_data(cfg, data_root)
    checkpoint = args.checkpoint or CHECKPOINT
    if args.checkpoint or checkpoint.is_file():
        cfg.model.backbone.init_cfg.checkpoint = str(checkpoint)
    else:
        sys.stdout.write(f'no checkpoint {checkpoint}: training from random '
                         'weights; `make demo` makes one.\n')
        cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict(args.cfg_options or {})
    fit_machine(cfg)
    level, cfg.log_level = cfg.log_level, 'WARNING'
    runner = Runner.from_cfg(cfg)
    runner.logger.setLevel(level)
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(
                handler, logging.FileHandler):
            handler.setLevel(level)
            handler.addFilter(_is_for_spectators)
    return runner


def _is_for_spectators(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return any(word in message for word in SHOWN)


def save_picture(runner: Runner, path: Path) -> None:
    """Draw ground truth beside detections, one image a row."""
    dataset = runner.val_dataloader.dataset
    rows = []
    for index in range(min(NUM_SHOWN, len(dataset))):
        with torch.no_grad():
            sample = runner.model.val_step(pseudo_collate([dataset[index]]))[0]
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        runner.visualizer.add_datasample(
            path.stem, image, sample, pred_score_thr=0.5, step=index)
        rows.append(runner.visualizer.get_image())
    mmcv.imwrite(mmcv.rgb2bgr(np.concatenate(rows)), str(path))


def summary(runner: Runner, seconds: float) -> str:
    """Say in a few lines what came out."""
    scalars = runner.message_hub.log_scalars
    loss = scalars['train/loss']
    lines = [f'trained {runner.max_iters} iterations in {seconds:.0f} s; loss '
             f'{loss.data[0][0]:.3f} at first, {loss.mean(10):.3f} at last']
    for kind, name in (('bbox', 'boxes'), ('segm', 'masks')):
        ap, ap50 = (scalars[f'val/coco/{kind}_{key}'].current()
                    for key in ('mAP', 'mAP_50'))
        lines.append(f'AP of {name} {ap:.3f}, at IoU 0.5 {ap50:.3f}')
    return '\n'.join(lines)


def main() -> None:
    """Generate, fine-tune, evaluate, show."""
    args = parse_args()
    data = write_demo_data(args.work_dir / 'data', NUM_TRAIN, NUM_VAL)
    runner = build_runner(args, data)
    start = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - start
    picture = args.work_dir / 'detections.png'
    save_picture(runner, picture)
    sys.stdout.write(f'\n{summary(runner, seconds)}\n'
                     f'picture, ground truth on the left: '
                     f'{picture.resolve()}\n')


if __name__ == '__main__':
    main()
