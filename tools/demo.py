"""Pre-train a small ViT with MAE + AMT and show what it did.

    python tools/demo.py                 on a generated data set
    python tools/demo.py --data DIR      on your own images
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from amt_mm.datasets.training_set import find_transforms, unwrap
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine import estimate_cost
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import fit_machine
from amt_mm.engine.source_localization import connect_source, path_of
from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.evaluation import (
    masks_from_folder,
    measure_localization,
    measure_reconstruction,
    object_roles,
)
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.visualization import draw_sheet, training_panels

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.demo.demo_data import write_demo_data  # noqa: E402
from projects.demo.quiet_runner import build_quiet_runner  # noqa: E402

CONFIG = (Path(__file__).parents[1] / 'configs' /
          'mae_pixel-amt_vit-mini_demo.py')
NUM_PANELS = 6
SHOWN = ('Epoch(train)', 'saliency', 'Plan of', 'skipped')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--data', type=Path, help='folder of images (default: generate some)')
    parser.add_argument('--work-dir', type=Path, default='work_dirs/demo')
    parser.add_argument('--cfg-options', nargs='+', action=TextDictAction)
    return parser.parse_args()


def build_runner(args: argparse.Namespace, data: Path | None) -> Runner:
    """Build the runner, quiet but for what a spectator wants to read.

    Where the images are the generated ones, k-NN classifies held-out ones
    before the first epoch and after the last.
    """
    cfg = Config.fromfile(CONFIG)
    if data:
        cfg.default_hooks.probe = dict(
            type='amt_mm.ProbeHook', dataset=str(data / 'train'),
            val_dataset=str(data / 'val'), interval=cfg.train_cfg.max_epochs,
            linear=False)
    cfg.work_dir = str(args.work_dir)
    cfg.train_dataloader.dataset.data_root = str(args.data or data / 'train')
    merge_options(cfg, args.cfg_options)
    fit_machine(cfg)
    runner = build_quiet_runner(cfg, SHOWN)
    runner.logger.info(estimate_cost(cfg))
    return runner


def describe_training(runner: Runner, seconds: float) -> list[str]:
    """Say how the run went."""
    scalars = runner.message_hub.log_scalars
    loss = scalars['train/loss']
    first, last = loss.data[0][0], loss.mean(10)
    lines = [f'trained {runner.max_epochs} epochs in {seconds:.0f} s; loss '
             f'{first:.3f} at first, {last:.3f} at last']
    generator = find_transforms(runner.train_dataloader.dataset,
                                AMTMaskGenerator)[0]
    for role, count in generator.counts._asdict().items():
        key = f'train/p_{role}_salient'
        if key in scalars:
            lines.append(
                f'P({role}|salient) {scalars[key].mean(10):.3f}; uniform '
                f'masking would give {count / sum(generator.counts):.3f}')
    return lines


def draw(model: Any, dataset: BaseDataset, path: Path) -> None:
    """Draw a sheet of samples, spread over the data set."""
    indices = np.linspace(0, len(dataset) - 1, NUM_PANELS).astype(int)
    panels = training_panels(model, dataset, indices.tolist())
    mmcv.imwrite(mmcv.rgb2bgr(draw_sheet(panels)), str(path))


def describe_held_out(runner: Runner, data: Path, picture: Path) -> list[str]:
    """Measure, and draw, what the model makes of images it never saw."""
    dataset = DATASETS.build(dict(
        type='amt_mm.ImageFolder', data_root=str(data / 'val'),
        pipeline=runner.cfg.train_dataloader.dataset.pipeline))
    source = SALIENCY_SOURCES.build(runner.cfg.custom_hooks[1].source)
    model = unwrap_model(runner)
    truths = masks_from_folder(data / 'val', data / 'semantic' / 'val')
    maps = connect_source(source, dataset, model)
    masks = [truths[path_of(dataset, i)] for i in range(len(dataset))]
    found = measure_localization(zip(maps, masks, strict=True))
    roles = object_roles(dataset, truths)
    drawn = measure_reconstruction(model, dataset, range(len(dataset)))
    draw(model, dataset, picture)
    shares = ', '.join(f'{share:.2f} {role}' for role, share in roles.items())
    accuracy = runner.message_hub.log_scalars['probe/knn_mean_top1'].data[0]
    return [
        f'of {len(dataset)} images it never saw:',
        '  the saliency as a map of the objects has the average precision '
        f'{found.average_precision.mean:.2f}, the centre of the image '
        f'{found.centre_average_precision.mean:.2f}',
        f'  of the area of the objects {shares}',
        '  squared error of the reconstructions over that of the mean of each '
        f'masked patch: median {drawn.over_mean:.2f}; over that of its mean '
        f'colour: {drawn.over_colour:.2f}',
        f'  k-NN tells their classes in {accuracy[-1]:.1f} %, with random '
        f'weights in {accuracy[0]:.1f} %',
    ]


def main() -> None:
    """Generate, pre-train, show."""
    args = parse_args()
    data = None if args.data else write_demo_data(args.work_dir / 'data')
    picture = args.work_dir / 'panels.png'
    runner = build_runner(args, data)
    start = time.perf_counter()
    runner.train()
    lines = describe_training(runner, time.perf_counter() - start)
    if data:
        lines += describe_held_out(runner, data, picture)
    else:
        draw(unwrap_model(runner), unwrap(runner.train_dataloader.dataset),
             picture)
    sys.stdout.write('\n'.join([
        '', *lines, f'picture: {picture.resolve()}',
        f'next: .venv/bin/python tools/report.py {args.work_dir}', '']))


if __name__ == '__main__':
    main()
