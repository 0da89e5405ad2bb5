"""Measure how well a model's saliency finds objects, against the centre.

    python tools/localize.py CONFIG CHECKPOINT --images DIR --masks DIR
    python tools/localize.py CONFIG CHECKPOINT --images DIR --boxes FILE
    python tools/localize.py CONFIG CHECKPOINT --images DIR --boxes FILE \
        --maps WORK_DIR/saliency

Prints the pointing accuracy and the average precision of the saliency and of
the centre prior, each with its standard error, as one line and as JSON. With
--maps the images are the config's training set, and it also prints how often
the plans drawn from these maps mask, throw and show the objects.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint

from amt_mm.datasets.training_set import find_transforms, sample_paths
from amt_mm.datasets.transforms import AMTMaskGenerator, SeedSample
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.training_plan import find_generator
from amt_mm.evaluation import (
    localize,
    masks_from_boxes,
    masks_from_folder,
    object_roles,
)
from amt_mm.saliency import SaliencyStore, fingerprint
from amt_mm.weights import reading_safely


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config the model was trained with')
    parser.add_argument(
        'checkpoint', help='its checkpoint, or "none" for random weights')
    parser.add_argument('--images', type=Path, required=True)
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument(
        '--masks', type=Path, help='PNG files named as the images')
    truth.add_argument(
        '--boxes', type=Path, help='lines of PATH XMIN YMIN XMAX YMAX')
    parser.add_argument(
        '--maps', type=Path, help='saliency store of the training run')
    parser.add_argument('--cfg-options', nargs='+', action=TextDictAction)
    return parser.parse_args()


def main() -> None:
    """Parse, build, run."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if args.checkpoint == 'none':
        model.init_weights()
    else:
        with reading_safely(args.checkpoint):
            load_checkpoint(model, args.checkpoint, map_location='cpu')
    if torch.cuda.is_available():
        model.cuda()
    truths = masks_from_folder(args.images, args.masks) if args.masks \
        else masks_from_boxes(args.images, args.boxes)
    h, w = find_generator(cfg).tokens
    patch_size = model.backbone.patch_size
    result = localize(model, truths, (h * patch_size, w * patch_size))
    print_log(str(result))
    print_log(json.dumps(result.as_dict()))
    if args.maps:
        dataset = connected_dataset(cfg, args.maps)
        roles = object_roles(dataset, truths)
        print_log(', '.join(f'P({role}|object) {share:.4f}'
                            for role, share in roles.items()))


def connected_dataset(cfg: Config, maps: Path) -> BaseDataset:
    """Build the training set with its pipeline reading a store."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    generator = find_transforms(dataset, AMTMaskGenerator)[0]
    generator.store = SaliencyStore(maps, len(dataset), generator.tokens,
                                    fingerprint(sample_paths(dataset)))
    for seeding in find_transforms(dataset, SeedSample):
        seeding.set(seed=0, epoch=0)
    return dataset


if __name__ == '__main__':
    main()
