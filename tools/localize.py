"""Measure how well saliency finds objects, against the centre.

    python tools/localize.py CONFIG CHECKPOINT --images DIR --masks DIR
    python tools/localize.py CONFIG CHECKPOINT --images DIR --boxes FILE
    python tools/localize.py CONFIG CHECKPOINT --images DIR --boxes FILE \
        --maps WORK_DIR/saliency
    python tools/localize.py CONFIG --images DIR --boxes FILE \
        --source PixelSaliency method=geodesic
    python tools/localize.py CONFIG --images DIR --boxes FILE --source

Prints the pointing accuracy and the average precision of the saliency and of
the centre prior, each with its standard error, as one line and as JSON. With
--maps the images are the config's training set, and it also prints how often
the plans drawn from these maps mask, throw and show the objects.

With --source the maps are those of a source of SaliencyUpdateHook, with its
arguments, or of the config's own where no name follows; they are made as in a
run, and plans are drawn from them by the config's pipeline. A source that
looks through the model needs the checkpoint too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DATASETS, init_default_scope

from amt_mm.datasets.training_set import sample_paths
from amt_mm.engine.cfg_options import TextDictAction, merge_options
from amt_mm.engine.cost import find_generator
from amt_mm.engine.fit_config import without_wrappers
from amt_mm.engine.frozen_encoder import build_encoder
from amt_mm.engine.source_localization import connect_store, localize_source
from amt_mm.evaluation import (
    localize,
    masks_from_boxes,
    masks_from_folder,
    object_roles,
)
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency import SaliencyStore, fingerprint


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config the model was trained with')
    parser.add_argument(
        'checkpoint', nargs='?',
        help='its checkpoint, or "none" for random weights')
    parser.add_argument('--images', type=Path, required=True)
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument(
        '--masks', type=Path, help='PNG files named as the images')
    truth.add_argument(
        '--boxes', type=Path, help='lines of PATH XMIN YMIN XMAX YMAX')
    maps = parser.add_mutually_exclusive_group()
    maps.add_argument(
        '--maps', type=Path, help='saliency store of the training run')
    maps.add_argument(
        '--source', nargs='*', metavar='NAME KEY=VALUE',
        help='source of the maps')
    parser.add_argument(
        '--grid', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
        help='grid the encoder was pre-trained on, in patches, if it is not '
        "the config's and the checkpoint does not say")
    parser.add_argument('--cfg-options', nargs='+', action=TextDictAction)
    args = parser.parse_args()
    if args.checkpoint is None and args.source is None:
        parser.error('either CHECKPOINT or --source is needed, got neither.')
    return args


def main() -> None:
    """Parse, build, run."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = args.checkpoint and build_encoder(
        cfg, args.checkpoint, args.grid).to(get_device())
    truths = masks_from_folder(args.images, args.masks) if args.masks \
        else masks_from_boxes(args.images, args.boxes)
    roles = None
    if args.source is not None:
        result, roles = localize_source(
            SALIENCY_SOURCES.build(read_source(cfg, args.source)),
            build_dataset(cfg, args.images), truths, model,
            num_workers=cfg.train_dataloader.num_workers)
    else:
        h, w = find_generator(cfg).tokens
        side = model.backbone.patch_size
        result = localize(model, truths, (h * side, w * side))
    print_log(str(result))
    print_log(json.dumps(result.as_dict()))
    if args.maps:
        roles = object_roles(connected_dataset(cfg, args.maps), truths)
    if roles:
        print_log(', '.join(f'P({role}|object) {share:.4f}'
                            for role, share in roles.items()))


def read_source(cfg: Config, words: list[str]) -> dict:
    """Turn NAME KEY=VALUE ... into the config of a source."""
    if words:
        options: dict = {}
        for word in words[1:]:
            key, _, value = word.partition('=')
            options[key] = TextDictAction._parse_iterable(value)
        return dict(options, type=words[0])
    for hook in cfg.get('custom_hooks', []):
        if hook.type.endswith('SaliencyUpdateHook'):
            return hook.get('source', dict(type='amt_mm.ModelSaliency'))
    raise ValueError('--source needs a name where custom_hooks of the config '
                     'have no SaliencyUpdateHook.')


def build_dataset(cfg: Config, images: Path) -> BaseDataset:
    """Build a folder of images with the train pipeline of a config."""
    dataset = next(without_wrappers(cfg.train_dataloader.dataset))
    return DATASETS.build(dict(
        type='amt_mm.ImageFolder', data_root=str(images),
        pipeline=dataset.pipeline))


def connected_dataset(cfg: Config, maps: Path) -> BaseDataset:
    """Build the training set with its pipeline reading a store."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    connect_store(dataset, SaliencyStore(
        maps, len(dataset), find_generator(cfg).tokens,
        fingerprint(sample_paths(dataset))))
    return dataset


if __name__ == '__main__':
    main()
