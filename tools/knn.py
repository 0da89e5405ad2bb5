"""Classify a validation set by the nearest neighbours of a frozen encoder.

    python tools/knn.py CONFIG CHECKPOINT
    python tools/knn.py CONFIG CHECKPOINT --k 10 20 100 200
    python tools/knn.py CONFIG none --max-train 20000

CONFIG is a classification config of mmpretrain with labelled train_dataloader
and val_dataloader (or test_dataloader); the pipeline of the latter shows both.
CHECKPOINT is one of pre-training, or "none" for random weights. Prints top-1
and top-5 accuracy for each k, and with --linear top-1 of a linear classifier,
by the class token and by the mean of the patch tokens, both after the final
norm.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.logging import MMLogger, print_log
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

from amt_mm.datasets.training_set import unwrap
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.fit_config import without_wrappers
from amt_mm.engine.frozen_encoder import (
    build_encoder,
    evaluation_loader,
    evaluation_pipeline,
)
from amt_mm.engine.whole_images import loader_in_order
from amt_mm.evaluation import (
    class_token_and_mean,
    draw_subsets,
    extract_features,
    labels_of,
    linear_probe,
    nearest,
    top_accuracies,
    vote,
)

FEATURES = ('cls_token', 'avg_featmap')
POOLS = '', ' of the patch mean'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of classification')
    parser.add_argument(
        'checkpoint', help='one of pre-training, or "none" for random weights')
    parser.add_argument(
        '--k', type=int, nargs='+', default=[20], help='neighbours that vote')
    parser.add_argument('--temperature', type=float, default=0.07)
    parser.add_argument(
        '--feature',
        choices=FEATURES,
        help='only this one, as mmpretrain has it, which normalises the mean '
        'of the patch tokens once more; default: class token and mean')
    parser.add_argument(
        '--max-train', type=int, help='use at most this many training images')
    parser.add_argument(
        '--batch-size', type=int, help="default: the val_dataloader's")
    parser.add_argument(
        '--linear', action='store_true',
        help='also fit a linear classifier on the features')
    parser.add_argument(
        '--grid', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
        help='grid the encoder was pre-trained on, in patches, if the '
        'checkpoint does not say')
    parser.add_argument('--device', default=get_device())
    parser.add_argument(
        '--cfg-options', nargs='+', action=TextDictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> None:
    """Parse, build, run."""
    args = parse_args()
    # mmengine tells of the initialisation of every parameter
    MMLogger.get_current_instance().setLevel('WARNING')
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    start = time.perf_counter()
    train, val = build_datasets(cfg, args.max_train)
    labels, truth = labels_of(train), labels_of(val)
    if max(args.k) > len(train):
        raise SystemExit(f'--k must be at most the {len(train):,} training '
                         f'images, got {max(args.k)}.')
    model = build_encoder(cfg, args.checkpoint, args.grid,
                          args.feature or 'raw').to(args.device)
    bank, queries = (
        encode(model, dataset, cfg, args.batch_size)
        for dataset in (train, val))
    seconds = time.perf_counter() - start
    about = (f'{len(bank):,} train and {len(queries):,} val images, '
             f'{bank.shape[-1]} features, {seconds:.0f} s')
    num_classes = 1 + int(max(labels.max(), truth.max()))
    for number, name in zip(range(bank.shape[1]), POOLS, strict=False):
        pair = queries[:, number], bank[:, number]
        report(name, *pair, labels, truth, num_classes, args, about)


def report(name: str, queries: Tensor, bank: Tensor, labels: Tensor,
           truth: Tensor, num_classes: int, args: argparse.Namespace,
           about: str) -> None:
    """Print the accuracies by one kind of features."""
    neighbours = nearest(queries.to(args.device), bank, max(args.k))
    for k in args.k:
        own = type(neighbours)(*(part[:, :k] for part in neighbours))
        scores = vote(own, labels, num_classes, args.temperature)
        tops = ', '.join(f'top-{n} {value:.2f}'
                         for n, value in top_accuracies(scores, truth).items())
        print_log(f'k-NN{name} {tops} (k={k}, T={args.temperature:g}, '
                  f'{about})')
    if args.linear:
        scores = linear_probe(queries, bank, labels, num_classes)
        tops = top_accuracies(scores, truth)
        print_log(f'linear probe{name} top-1 {tops[1]:.2f}, of the same '
                  'features')


def build_datasets(cfg: Config,
                   max_train: int | None) -> tuple[BaseDataset, BaseDataset]:
    """Build both data sets with the pipeline of the second."""
    if not (evaluation_loader(cfg) and cfg.get('train_dataloader')):
        raise SystemExit(
            f'{cfg.filename} must have a train_dataloader and a '
            'val_dataloader or test_dataloader, both with labels, as the '
            'configs of classification have.')
    pipeline = evaluation_pipeline(cfg)
    train, val = (
        unwrap(DATASETS.build(dict(
            next(without_wrappers(loader.dataset)), pipeline=pipeline)))
        for loader in (cfg.train_dataloader, evaluation_loader(cfg)))
    train.full_init()
    val.full_init()
    if max_train is not None and max_train < len(train):
        train, = draw_subsets(train, max_train)
    return train, val


def encode(model: Any, dataset: BaseDataset, cfg: Config,
           batch_size: int | None) -> Tensor:
    """Return the features (N, F, D) of a data set, in its order."""
    loader = evaluation_loader(cfg)
    return extract_features(
        model,
        loader_in_order(dataset, batch_size or loader.batch_size,
                        loader.num_workers), class_token_and_mean)


if __name__ == '__main__':
    main()
