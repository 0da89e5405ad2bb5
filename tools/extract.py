"""Write the features of unlabelled images to a file.

    python tools/extract.py CONFIG CHECKPOINT --images DIR --out features.npz
    python tools/extract.py CONFIG CHECKPOINT --images DIR --out features.npz \
        --pool mean --map pca

CONFIG is one of pre-training, and images are resized whole to its input, or
one of classification, and its validation pipeline shows them. CHECKPOINT is
one of pre-training, or "none" for random weights. The file holds `features`,
float32, and `names`, the paths below DIR in the same order:

    with np.load('features.npz') as file:
        features, names = file['features'], file['names']

Files that cannot be read are named and left out. With --map, features.png
shows thumbnails, those of like features near each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.logging import MMLogger, print_log
from mmengine.registry import init_default_scope
from torch import Tensor

from amt_mm.datasets.training_set import sample_paths
from amt_mm.datasets.transforms import LoadImage
from amt_mm.datasets.transforms.load_image import printable
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.frozen_encoder import (
    build_encoder,
    unlabelled_images,
)
from amt_mm.engine.whole_images import loader_in_order
from amt_mm.evaluation import (
    POOLS,
    count_not_finite,
    pool_of,
    readable_features,
    write_features,
)
from amt_mm.visualization import (
    PROJECTIONS,
    check_projection,
    draw_embedding,
    project,
    thumbnail_side,
)

NUM_SHOWN = 20  # unreadable files that are named


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='of pre-training or classification')
    parser.add_argument(
        'checkpoint', help='one of pre-training, or "none" for random weights')
    parser.add_argument('--images', required=True, metavar='DIR')
    parser.add_argument(
        '--out', type=Path, required=True, help='a file that ends in .npz')
    parser.add_argument(
        '--pool', choices=POOLS, default='cls',
        help='class token (N, D), mean of the patch tokens (N, D), or all '
        'patch tokens (N, D, h, w), all after the final norm; default: cls')
    parser.add_argument(
        '--map', choices=PROJECTIONS,
        help='also draw thumbnails, placed by this projection of the features '
        'to two dimensions (tsne needs scikit-learn, umap umap-learn)')
    parser.add_argument(
        '--map-images', type=int, default=1000,
        help='images that it shows at most, drawn evenly; default: 1000')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--num-workers', type=int, default=2)
    parser.add_argument(
        '--grid', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
        help='grid the encoder was pre-trained on, in patches, if the '
        'checkpoint does not say')
    parser.add_argument('--device', default=get_device())
    parser.add_argument(
        '--cfg-options', nargs='+', action=TextDictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.out.suffix != '.npz':
        parser.error(f'--out must end in .npz, got {args.out}.')
    for name, low in (('map_images', 3), ('batch_size', 1),
                      ('num_workers', 0)):
        if getattr(args, name) < low:
            parser.error(f'--{name.replace("_", "-")} must be >= {low}, got '
                         f'{getattr(args, name)}.')
    return args


def main() -> None:
    """Encode, write, draw."""
    args = parse_args()
    # mmengine tells of the initialisation of every parameter
    MMLogger.get_current_instance().setLevel('WARNING')
    try:
        if args.map:
            check_projection(args.map)
        cfg = Config.fromfile(args.config)
        merge_options(cfg, args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmpretrain'))
        images = unlabelled_images(cfg, args.images)
        model = build_encoder(cfg, args.checkpoint, args.grid).to(args.device)
        shown = encode(model, images, args)
        if args.map:
            draw(images, shown, args)
    except (ModuleNotFoundError, OSError, ValueError) as error:
        raise SystemExit(f'cannot extract features: {error}') from error


def encode(model: Any, images: BaseDataset,
           args: argparse.Namespace) -> dict[int, Tensor]:
    """Write the features; return those (D,) of the images to be shown."""
    loader = loader_in_order(images, args.batch_size, args.num_workers)
    names, shown = list(sample_paths(images)), {}
    wanted = set(np.linspace(
        0, len(images) - 1, min(len(images), args.map_images)).astype(int))
    num_bad = 0

    def blocks() -> Iterator[tuple[Tensor, list[str]]]:
        nonlocal num_bad
        for features, index in readable_features(
                model, loader, pool_of(args.pool, model)):
            num_bad += count_not_finite(features.flatten(1))
            shown.update({
                i: row.flatten(1).mean(1) if row.ndim == 3 else row.clone()
                for i, row in zip(index, features, strict=True)
                if i in wanted and row.isfinite().all()})
            yield features, [names[i] for i in index]

    args.out.parent.mkdir(parents=True, exist_ok=True)
    shape = write_features(args.out, blocks())
    report_unreadable(images)
    if num_bad:
        print_log(f'the features of {num_bad:,} images are not finite.')
    print_log(f'{args.out}: features {shape}, {args.pool}, and names')
    return shown


def report_unreadable(images: BaseDataset) -> None:
    """Name the files that were left out."""
    bad = torch.nonzero(images.unreadable).flatten().tolist()
    if bad:
        listed = '\n  '.join(printable(images.get_data_info(i)['img_path'])
                             for i in bad[:NUM_SHOWN])
        print_log(f'left out {len(bad):,} of {len(images):,} images that '
                  f'cannot be read, {NUM_SHOWN} at most shown:\n  {listed}')


def draw(images: BaseDataset, shown: dict[int, Tensor],
         args: argparse.Namespace) -> None:
    """Draw the thumbnails of images at the places of their features."""
    places = project(torch.stack([*shown.values()]).numpy(), args.map)
    side, load = thumbnail_side(len(shown)), LoadImage()
    thumbnails = []
    for index in shown:
        image = load(images.get_data_info(index))['img']
        small = mmcv.imrescale(image, (side, side), interpolation='area')
        thumbnails.append(mmcv.bgr2rgb(small))
    path = args.out.with_suffix('.png')
    mmcv.imwrite(mmcv.rgb2bgr(draw_embedding(places, thumbnails)), str(path))
    print_log(f'{path}: {len(shown):,} thumbnails at places by {args.map}')


if __name__ == '__main__':
    main()
