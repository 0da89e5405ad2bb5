"""Configs of a model and of a run of the size of a test, and shipped ones.

A test changes one thing of a small config; all else is right.
"""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

CONFIGS = Path(__file__).parents[1] / 'configs'
ARCH = dict(
    embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
LOAD = dict(type='amt_mm.LoadImage')
CROP = dict(type='amt_mm.RandomResizedCropWithBox', scale=32)
MASK = dict(type='amt_mm.AMTMaskGenerator', input_size=32, patch_size=8)
FLIP = dict(type='RandomFlip', prob=0.5)
PACK = dict(
    type='mmpretrain.PackInputs', algorithm_keys=('mask_plan', 'saliency'))
SEED = dict(type='amt_mm.SeedSample')
UPDATE = dict(type='amt_mm.SaliencyUpdateHook', interval=1)


def read_config(path):
    """Return a config below ``configs``; the ending may be left out.

    Its text is not formatted, which would take longer than a step of training,
    for each log and each checkpoint.
    """
    return copy.deepcopy(_read(Path(CONFIGS, path).with_suffix('.py')))


@cache
def _read(path):
    cfg = Config.fromfile(path)
    return Config(cfg.to_dict(), filename=cfg.filename,
                  format_python_code=False)


def linear(start, end, until=9, **changes):
    return dict(type='amt_mm.LinearSchedule', start=start, end=end,
                until=until, **changes)


def mae(**changes):
    """Describe a MAE; a part takes what is changed in it."""
    config = dict(
        type='amt_mm.AMTMAE',
        backbone=dict(
            type='amt_mm.AMTMAEViT', arch=ARCH, img_size=32, patch_size=8),
        neck=dict(
            type='amt_mm.AMTMAEPretrainDecoder', num_patches=16, patch_size=8,
            embed_dim=32, decoder_embed_dim=16, decoder_depth=1,
            decoder_num_heads=2),
        head=dict(
            type='amt_mm.AMTMAEPretrainHead', norm_pix=True, patch_size=8,
            loss=dict(
                type='mmpretrain.PixelReconstructionLoss', criterion='L2')))
    for part, values in changes.items():
        is_part = isinstance(config.get(part), dict)
        config[part] = {**config[part], **values} if is_part else values
    return config


def write_images(root, number=6, ending='jpg'):
    """Write images of noise; return their folder."""
    folder = root / 'images'
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.{ending}')
    return folder


def run_config(root, pipeline=(LOAD, CROP, MASK, PACK), hooks=(UPDATE, ),
               dataset=None, model=None, **changes):
    """Describe a run of two epochs, by default on six images."""
    dataset = dataset or dict(
        type='amt_mm.ImageFolder', data_root=str(write_images(root)))
    return Config({
        **dict(
            default_scope='mmpretrain',
            work_dir=str(root / 'run'),
            experiment_name=f'{root.name}_{os.urandom(4).hex()}',
            log_level='ERROR',
            model=model or mae(),
            data_preprocessor=dict(
                type='SelfSupDataPreprocessor', mean=[128.] * 3,
                std=[64.] * 3),
            train_dataloader=dict(
                batch_size=3, num_workers=0,
                dataset=dict(dataset, pipeline=list(pipeline)),
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate')),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=list(hooks)),
        **changes
    }, format_python_code=False)
