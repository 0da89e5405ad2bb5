"""Pre-train a small ViT with MAE + AMT and show what it did.

    python tools/demo.py                 on a generated data set
    python tools/demo.py --data DIR      on your own images
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from amt_mm.datasets.training_set import find_transforms, unwrap
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine import estimate_cost
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import fit_machine
from amt_mm.engine.quiet_runner import build_quiet_runner
from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.evaluation import localize, masks_from_folder, object_roles
from amt_mm.visualization import draw_sheet, training_panels

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.demo.demo_data import write_demo_data  # noqa: E402

CONFIG = Path(__file__).parents[1] / 'configs' / 'mae_amt_vit-t_30e_demo.py'
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


def build_runner(args: argparse.Namespace, data_root: Path) -> Runner:
    """Build the runner, quiet but for what a spectator wants to read."""
    cfg = Config.fromfile(CONFIG)
    merge_options(cfg, args.cfg_options)
    cfg.work_dir = str(args.work_dir)
    cfg.train_dataloader.dataset.data_root = str(data_root)
    fit_machine(cfg)
    runner = build_quiet_runner(cfg, SHOWN)
    runner.logger.info(estimate_cost(cfg))
    return runner


def save_picture(runner: Runner, path: Path) -> None:
    """Draw a sheet of training samples, spread over the data set."""
    dataset = unwrap(runner.train_dataloader.dataset)
    indices = np.linspace(0, len(dataset) - 1, NUM_PANELS).astype(int)
    panels = training_panels(unwrap_model(runner), dataset, indices.tolist())
    mmcv.imwrite(mmcv.rgb2bgr(draw_sheet(panels)), str(path))


def summary(runner: Runner, seconds: float, data: Path | None) -> str:
    """Say in a few lines what came out."""
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
    if data:
        trained = masks_from_folder(data / 'train',
                                    data / 'semantic' / 'train')
        roles = object_roles(unwrap(runner.train_dataloader.dataset), trained)
        lines.append(', '.join(f'P({role}|object) {share:.3f}'
                               for role, share in roles.items()))
        truths = masks_from_folder(data / 'val', data / 'semantic' / 'val')
        size = find_input_size(runner, generator)
        lines.append('does the saliency find the objects of '
                     f'{len(truths)} images it never saw?')
        lines.append(f'  {localize(unwrap_model(runner), truths, size)}')
    return '\n'.join(lines)


def find_input_size(runner: Runner,
                    generator: AMTMaskGenerator) -> tuple[int, int]:
    """Return (height, width) in pixels of the model's input."""
    patch_size = unwrap_model(runner).backbone.patch_size
    h, w = generator.tokens
    return h * patch_size, w * patch_size


def main() -> None:
    """Generate, pre-train, show."""
    args = parse_args()
    generated = None if args.data else write_demo_data(args.work_dir / 'data')
    runner = build_runner(args, args.data or generated / 'train')
    start = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - start
    picture = args.work_dir / 'panels.png'
    save_picture(runner, picture)
    sys.stdout.write(f'\n{summary(runner, seconds, generated)}\n'
                     f'picture: {picture.resolve()}\n'
                     'next: .venv/bin/python tools/report.py '
                     f'{args.work_dir}\n')


if __name__ == '__main__':
    main()
