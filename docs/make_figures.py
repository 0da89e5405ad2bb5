"""Make the runs and the figures of "Is it learning?".

    python docs/make_figures.py
    python docs/make_figures.py --epochs 5 --num-train 64
    python docs/make_figures.py --images DIR --out FOLDER

Writes generated images, a healthy run of a small ViT and others that are sick
or at their end below ``--work-dir``, and two pictures into ``--out``, and says
what the verdict on each run is. With ``--images`` the images are those in
``train`` and ``val`` of a folder. Runs that are there already are not made
again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from PIL import Image

from amt_mm.datasets.image_folder import EXTENSIONS
from amt_mm.datasets.training_set import find_transforms, sample_paths
from amt_mm.datasets.transforms import AMTMaskGenerator, SeedSample
from amt_mm.saliency import SaliencyStore, fingerprint
from amt_mm.visualization import Panel, draw_sheet, training_panels
from amt_mm.weights import weights_only_loading

# projects/ lies beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from projects.demo.demo_data import write_demo_data  # noqa: E402
from projects.report.figures import verdict_of  # noqa: E402
from projects.report.run_folder import read_run  # noqa: E402

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs' / 'mae_amt_vit-t_30e_demo.py'
# run -> what is wrong with it, as options of tools/train.py
RUNS = {
    'healthy': [],
    'learning rate x 100': ['optim_wrapper.optimizer.lr=0.4'],
    'not normalised': ['data_preprocessor.mean=[0,0,0]',
                       'data_preprocessor.std=[1,1,1]'],
    'flat maps': ['custom_hooks.1.source.type=amt_mm.FolderSaliency',
                  'custom_hooks.1.source.root={root}/flat',
                  'custom_hooks.1.begin=0.2',
                  'custom_hooks.1.max_uniform_share=1.0'],
    'maps made once': ['custom_hooks.1.begin=0.2',
                       'custom_hooks.1.interval=1000'],
    '16 images': ['data_root={root}/few'],
    'weight decay 50': ['optim_wrapper.optimizer.weight_decay=50'],
    'rate 0 from epoch 6': ['param_scheduler.1.type=MultiStepLR',
                            'param_scheduler.1.milestones=[6]',
                            'param_scheduler.1.gamma=0.'],
}
# what is drawn: name in the log -> title
CURVES = {
    'loss': 'training loss',
    'checkup/heldout_loss': 'held-out loss',
    'checkup/spread': 'spread of the features',
    'p_masked_salient': 'P(masked | salient)',
    'saliency/entropy': 'entropy of the maps',
    'checkup/rank_me': 'RankMe',
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=int, default=15)
    parser.add_argument('--num-train', type=int, default=400)
    parser.add_argument('--images', type=Path)
    parser.add_argument('--work-dir', type=Path, default='work_dirs/learning')
    parser.add_argument(
        '--out', type=Path, default=ROOT / 'docs' / 'images')
    parser.add_argument(
        '--runs', nargs='+', choices=RUNS, default=list(RUNS))
    return parser.parse_args()


def write_data(root: Path, num_train: int, images: Path | None) -> None:
    """Write images, maps of them that are uniform, and a set of only 16."""
    num_val = min(num_train, 100)
    if images is None:
        data = write_demo_data(root / 'data', num_train, num_val)
    else:
        data = root / 'data'
        for part, number in (('train', num_train), ('val', num_val)):
            link(images / part, data / part, number, number)
    for path in sorted((data / 'train').rglob('*.jpg')):
        flat = root / 'flat' / path.relative_to(data / 'train')
        flat.parent.mkdir(parents=True, exist_ok=True)
        size = Image.open(path).size
        Image.new('L', size, 128).save(flat.with_suffix('.png'))
    # as many links as there are images, so that an epoch is as long
    link(data / 'train', root / 'few', num_train, 16)


def link(source: Path, folder: Path, number: int, different: int) -> None:
    """Make links to some images of a folder, each as often as it takes."""
    folder.mkdir(parents=True, exist_ok=True)
    images = sorted(path for path in source.rglob('*')
                    if path.suffix.lower() in EXTENSIONS)
    few = images[::max(1, len(images) // different)][:different]
    for i in range(number):
        path = folder / f'{i:04d}.jpg'
        if not path.exists():
            path.symlink_to(few[i % len(few)].resolve())


def train(root: Path, name: str, epochs: int) -> Path:
    """Make a run, unless it is there; return its folder."""
    work_dir = root / name.replace(' ', '_')
    if (work_dir / f'epoch_{epochs}.pth').exists():
        return work_dir
    options = [
        f'data_root={root}/data/train', f'train_cfg.max_epochs={epochs}',
        'param_scheduler.0.end=2', 'train_dataloader.num_workers=1',
        'default_hooks.logger.interval=4',
        f'default_hooks.checkpoint.interval={epochs}',
        'randomness.seed=0',
        'default_hooks.checkup.type=amt_mm.CheckupHook',
        f'default_hooks.checkup.heldout={root}/data/val',
        'default_hooks.checkup.interval=1',
        'default_hooks.checkup.num_images=100',
    ] + [option.format(root=root) for option in RUNS[name]]
    subprocess.run(
        [sys.executable, ROOT / 'tools' / 'train.py', CONFIG, '--work-dir',
         work_dir, '--cfg-options', *options], check=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)})
    return work_dir


def curve(work_dir: Path, key: str) -> np.ndarray:
    """Return (N, 2): epochs, and the means of a figure in each."""
    log = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    values: dict[int, list[float]] = {}
    for line in map(json.loads, log.read_text().splitlines()):
        if key in line:
            values.setdefault(line['epoch'], []).append(line[key])
    means = [(epoch, np.mean(own)) for epoch, own in values.items()]
    return np.array(means).reshape(-1, 2)


def draw_curves(work_dirs: dict[str, Path], path: Path) -> None:
    """Draw each figure in a panel, with all runs in it."""
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout='constrained')
    styles = ['-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)),
              (0, (8, 3)), (0, (3, 1))]
    for axis, (key, title) in zip(axes.flat, CURVES.items(), strict=True):
        for (name, work_dir), style in zip(
                work_dirs.items(), styles, strict=False):
            axis.plot(*curve(work_dir, key).T, label=name, linestyle=style,
                      marker='.')
        axis.set(title=title, xlabel='epoch')
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=4,
                  loc='outside lower center')
    figure.savefig(path, dpi=90)


def draw_panel(work_dir: Path, root: Path, epochs: int) -> Panel:
    """Draw the first image of a run through its pipeline."""
    cfg = Config.fromfile(work_dir / CONFIG.name)
    init_default_scope('mmpretrain')
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(cfg.model)
    checkpoint = work_dir / f'epoch_{epochs}.pth'
    with weights_only_loading(str(checkpoint)):
        load_checkpoint(model, str(checkpoint), map_location='cpu')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    generator = find_transforms(dataset, AMTMaskGenerator)[0]
    generator.store = SaliencyStore(
        work_dir / 'saliency', len(dataset), generator.tokens,
        fingerprint(sample_paths(dataset)))
    for seeding in find_transforms(dataset, SeedSample):
        seeding.set(seed=0, epoch=0)
    return training_panels(model, dataset, [0])[0]


def main() -> None:
    """Train, then draw."""
    args = parse_args()
    root = args.work_dir.resolve()
    write_data(root, args.num_train, args.images)
    work_dirs = {name: train(root, name, args.epochs) for name in args.runs}
    for name, path in work_dirs.items():
        print_log(f'{name}: {verdict_of(read_run(path))}')
    args.out.mkdir(parents=True, exist_ok=True)
    draw_curves(work_dirs, args.out / 'learning.png')
    panels = [draw_panel(path, root, args.epochs)
              for path in work_dirs.values()]
    sheet = Image.fromarray(draw_sheet(panels)).reduce(2).quantize(128)
    sheet.save(args.out / 'learning_panels.png', optimize=True)


if __name__ == '__main__':
    main()
