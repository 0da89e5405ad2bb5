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

import mmcv
import numpy as np
from mmengine.config import Config

from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import fit_machine, move_data_root
from amt_mm.visualization.panels import draw_table, enlarge

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.demo.demo_data import write_demo_data  # noqa: E402
from projects.demo.quiet_runner import build_quiet_runner  # noqa: E402

CONFIGS = Path(__file__).parents[1] / 'configs'
# config -> what is compared, in percent
TASKS = dict(
    cls={
        'classification/vit-mini_linear_demo.py': 'accuracy/top1',
        'classification/vit-mini_finetune_demo.py': 'accuracy/top1',
    },
    det={'detection/mask-rcnn_vitdet-mini_demo.py': 'coco/segm_mAP_50'},
    seg={'segmentation/upernet_vit-mini_demo.py': 'mIoU_foreground'})
NAMES = {
    'accuracy/top1': 'accuracy',
    'coco/segm_mAP_50': 'AP50 of the masks',
    'mIoU_foreground': 'mean IoU of the classes without the background',
}
STARTS = 'the demo', 'random weights'
NUM_PICTURES = 6
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
        default='work_dirs/demo/epoch_38.pth',
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
    if 'segmentation' in path.parts:
        # imports mmseg, which needs mmcv's operators
        from projects.demo.foreground_iou import ForegroundIoUMetric
        cfg.val_evaluator.type = ForegroundIoUMetric.__name__
    merge_options(cfg, args.cfg_options)
    fit_machine(cfg)
    return cfg


def train(cfg: Config, metric: str) -> tuple[float, float, list[Path]]:
    """Train; return the metric in percent, the seconds and the pictures.

    mmdet reports nothing where nothing was found: that is 0.
    """
    runner = build_quiet_runner(cfg, SHOWN)
    start = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - start
    scalars = runner.message_hub.log_scalars
    value = (scalars[f'val/{metric}'].current()
             if f'val/{metric}' in scalars else 0.)
    pictures = sorted(
        Path(runner.log_dir).glob('vis_data/vis_image/*.png'))
    return value * (100 if 'mAP' in metric else 1), seconds, pictures


def compare(name: str, metric: str, args: argparse.Namespace,
            data_root: Path) -> list[str]:
    """Train one recipe from both starts, and say which is better."""
    path, reached, drawn = CONFIGS / name, {}, []
    lines = []
    for start, checkpoint in zip(STARTS, (args.checkpoint, None),
                                 strict=True):
        cfg = build_config(path, checkpoint, data_root, args)
        reached[start], seconds, pictures = train(cfg, metric)
        drawn.append(pictures)
        lines.append(f'{path.stem} from {checkpoint or start}: '
                     f'{NAMES[metric]} {reached[start]:.1f} % '
                     f'({seconds:.0f} s)')
    better, other = sorted(STARTS, key=reached.__getitem__, reverse=True)
    lines.append(f'better start: {better}, by '
                 f'{reached[better] - reached[other]:.1f} points'
                 if reached[better] > reached[other] else
                 'no start is better than the other')
    if drawn[0]:
        sheet = args.work_dir / f'{path.stem}.png'
        mmcv.imwrite(mmcv.rgb2bgr(draw_pictures(*drawn)), str(sheet))
        lines.append(f'picture: {sheet.resolve()}')
    return lines


def draw_pictures(*drawn: list[Path]) -> np.ndarray:
    """Put what both runs found beside the truth, (H, W, 3) RGB.

    The hooks of mmdet and mmseg draw the truth on the left of each picture,
    and what was found on the right.
    """
    rows = []
    for paths in list(zip(*drawn, strict=True))[:NUM_PICTURES]:
        halves = [np.split(mmcv.imread(str(path), channel_order='rgb'), 2, 1)
                  for path in paths]
        rows.append([enlarge(half, 2)
                     for half in (halves[0][0], *(h[1] for h in halves))])
    return draw_table(('truth', *(f'from {start}' for start in STARTS)), rows)


def main() -> None:
    """Train each recipe of the task twice and compare."""
    args = parse_args()
    data_root = write_demo_data(args.work_dir / 'data')
    lines = [line for name, metric in TASKS[args.task].items()
             for line in compare(name, metric, args, data_root)]
    where = f'logs: {args.work_dir.resolve()}'
    sys.stdout.write('\n'.join(['', *lines, where, '']))


if __name__ == '__main__':
    main()
