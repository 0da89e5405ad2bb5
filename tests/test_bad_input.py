"""What a wrong config, data set, store or call is told.

    python tests/test_bad_input.py

prints the table of all cases with their messages.
"""
from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmengine.runner import Runner
from mmpretrain.models import VisionTransformer
from mmpretrain.structures import DataSample
from PIL import Image

from amt_mm.datasets.transforms import UnreadableImageError
from amt_mm.engine import estimate_cost
from amt_mm.masking import MaskPlan, count_tokens
from amt_mm.registry import TASK_UTILS
from amt_mm.saliency import (
    SaliencyMapsLostError,
    SaliencyStore,
    SaliencyStoreError,
    fingerprint,
    reduce_heads,
    vit_saliency,
)

ARCH = dict(
    embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)


class Case(NamedTuple):
    """One wrong input: ``call`` gets an empty folder and must raise."""

    name: str
    call: Callable[[Path], Any]
    error: type[BaseException]
    message: str


# ---- right inputs, of which each case changes one thing


def generator(**changes: Any) -> Any:
    return TRANSFORMS.build(
        dict(type='amt_mm.AMTMaskGenerator',
             **{'input_size': 224, **changes}))


def ordering(**changes: Any) -> Any:
    return TASK_UTILS.build(
        {'type': 'amt_mm.AttentionOrdering', **changes})


def linear(start: Any, end: Any, until: int = 9, **changes: Any) -> dict:
    return dict(type='amt_mm.LinearSchedule', start=start, end=end,
                until=until, **changes)


def hook(**changes: Any) -> Any:
    return HOOKS.build(dict(type='amt_mm.SaliencyUpdateHook', **changes))


def model_config(**changes: dict) -> dict:
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
        config[part] = {**config[part], **values}
    return config


def model(**changes: dict) -> Any:
    return MODELS.build(model_config(**changes))


def images(root: Path, number: int = 6) -> Path:
    folder = root / 'images'
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.jpg')
    return folder


def folder(root: Path, **changes: Any) -> Any:
    return DATASETS.build(
        {**dict(type='amt_mm.ImageFolder', data_root=str(root),
                pipeline=[dict(type='amt_mm.LoadImage')],
                serialize_data=False), **changes})


def store(root: Path, **changes: Any) -> SaliencyStore:
    return SaliencyStore(**{
        **dict(root=root / 'saliency', num_images=4, grid=(2, 2),
               dataset_id=fingerprint('abcd')), **changes
    })


def filled(root: Path) -> SaliencyStore:
    full = store(root)
    full.reset()
    full.write(40, np.zeros((4, 2, 2)))
    return full


def plan(counts: tuple[int, int, int] = (2, 1, 1)) -> MaskPlan:
    roles = np.repeat(np.array([1, -1, 0], np.int8), counts)
    return MaskPlan.from_flags(roles.reshape(1, 2, 2))


MANIFEST = (
    '{"format": 2, "num_images": 4, "grid": [2, 2], "dataset_id": "'
    f'{fingerprint("abcd")}", "current": %s, "generations": %s}}')
LOAD = dict(type='amt_mm.LoadImage')
CROP = dict(type='amt_mm.RandomResizedCropWithBox', scale=32)
MASK = dict(type='amt_mm.AMTMaskGenerator', input_size=32, patch_size=8)
FLIP = dict(type='RandomFlip', prob=0.5)
PACK = dict(
    type='mmpretrain.PackInputs', algorithm_keys=('mask_plan', 'saliency'))
UPDATE = dict(type='amt_mm.SaliencyUpdateHook', interval=1)


def run_config(root: Path, pipeline: tuple = (LOAD, CROP, MASK, PACK),
               hooks: tuple = (UPDATE, ), dataset: dict | None = None,
               model: dict | None = None, **changes: Any) -> Config:
    """Describe a run of two epochs on six images."""
    dataset = dataset or dict(
        type='amt_mm.ImageFolder',
        data_root=str(images(root)),
        pipeline=list(pipeline))
    return Config({
        **dict(
            default_scope='mmpretrain',
            work_dir=str(root / 'run'),
            experiment_name=f'bad_{root.name}_{os.urandom(4).hex()}',
            log_level='ERROR',
            model=model or model_config(),
            data_preprocessor=dict(
                type='SelfSupDataPreprocessor', mean=[128.] * 3,
                std=[64.] * 3),
            train_dataloader=dict(
                batch_size=3, num_workers=0, dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate')),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=list(hooks)),
        **changes
    })


def train(root: Path, **changes: Any) -> None:
    Runner.from_cfg(run_config(root, **changes)).train()


# ---- the wrong inputs


def with_corrupt_image(root: Path, **changes: Any) -> Any:
    path = images(root) / '3.jpg'
    path.write_bytes(path.read_bytes()[:300])
    return folder(root / 'images', **changes)


def damaged(root: Path, size: int) -> SaliencyStore:
    full = filled(root)
    os.truncate(full.path(40), size)
    return store(root)


def with_manifest(root: Path, text: str) -> SaliencyStore:
    filled(root).manifest.write_text(text)
    return store(root)


def resume_with_another_image(root: Path) -> None:
    train(root)
    Image.new('RGB', (40, 48)).save(root / 'images' / 'new.png')
    data = dict(type='amt_mm.ImageFolder', data_root=str(root / 'images'),
                pipeline=[LOAD, CROP, MASK, PACK])
    train(root, dataset=data, resume=True,
          train_cfg=dict(by_epoch=True, max_epochs=3))


def two_folders(root: Path) -> dict:
    one = dict(type='amt_mm.ImageFolder', data_root=str(images(root)))
    return dict(type='ConcatDataset', datasets=[one, one])


def batch_without_plan(root: Path) -> None:
    model().loss(torch.zeros(1, 3, 32, 32), [DataSample()])


def dead_backbone() -> dict:
    """A backbone that attends alike to everything."""
    zero = dict(type='Constant', layer='Linear', val=0)
    return model_config(backbone=dict(init_cfg=zero))


def uneven_batch(root: Path) -> None:
    flags = np.array([[[1, 1], [-1, 0]], [[1, 1], [0, 0]]], np.int8)
    MaskPlan.from_flags(flags)


CASES = [
    # ratios and counts
    Case('mask_ratio above 1', lambda _: generator(mask_ratio=1.2),
         ValueError, 'mask_ratio must be in [0, 1), got 1.2'),
    Case('mask_ratio negative', lambda _: generator(mask_ratio=-0.1),
         ValueError, 'mask_ratio must be in [0, 1), got -0.1'),
    Case('mask_ratio NaN', lambda _: generator(mask_ratio=float('nan')),
         ValueError, 'mask_ratio must be in [0, 1), got nan'),
    Case('mask_ratio a string', lambda _: generator(mask_ratio='0.5'),
         TypeError, "mask_ratio must be a number, got '0.5' of type str"),
    Case('mask_ratio a bool', lambda _: generator(mask_ratio=True),
         TypeError, 'mask_ratio must be a number, got True of type bool'),
    Case('mask_ratio in percent', lambda _: generator(mask_ratio=75),
         ValueError, 'mask_ratio must be in [0, 1), got 75'),
    Case('throw_ratio 1', lambda _: generator(throw_ratio=1.),
         ValueError, 'throw_ratio must be in [0, 1), got 1.0'),
    Case('ratios sum above 1', lambda _: generator(mask_ratio=0.75),
         ValueError, 'mask_ratio + throw_ratio must be < 1, got 0.75 + 0.4'),
    Case('warm-up ratios sum to 1',
         lambda _: generator(warmup_throw_ratio=0.25),
         ValueError, 'warmup_mask_ratio + warmup_throw_ratio must be < 1, '
         'got 0.75 + 0.25'),
    Case('nothing masked', lambda _: generator(mask_ratio=0.),
         ValueError, 'at least 1 token masked'),
    Case('rounding up leaves nothing visible',
         lambda _: count_tokens(4, 0.6, 0.2, 'ceil'), ValueError,
         'and 1 visible, got 0.6 and 0.2 of 4 tokens: 3 masked, 1 thrown, 0'),
    Case('rounding unknown', lambda _: generator(rounding='round'),
         ValueError, "rounding must be one of ['floor', 'ceil'], got 'round'"),
    # sizes
    Case('input_size not divided by patch_size',
         lambda _: generator(input_size=225), ValueError,
         'input_size must be a multiple of patch_size, got 225 by 16'),
    Case('width not divided by patch_size',
         lambda _: generator(input_size=(224, 100)), ValueError,
         'got 100 by 16'),
    Case('cell_size no multiple of patch_size',
         lambda _: generator(cell_size=56), ValueError,
         'cell_size must be a multiple of patch_size, got 56 by 16'),
    Case('input_size not divided by cell_size',
         lambda _: generator(cell_size=48), ValueError,
         'input_size must be a multiple of cell_size, got 224 by 48'),
    Case('patch_size 0', lambda _: generator(patch_size=0), ValueError,
         'patch_size must be an integer >= 1, got 0'),
    Case('patch_size larger than the image',
         lambda _: generator(input_size=16, patch_size=32), ValueError,
         'got 16 by 32'),
    Case('input_size of one number in a tuple',
         lambda _: generator(input_size=(224, )), TypeError,
         'input_size must be an int or (height, width), got (224,)'),
    Case('input_size a float', lambda _: generator(input_size=224.),
         TypeError, 'input_size must be an int or (height, width), got 224.0'),
    # orderings and layouts
    Case('ordering unknown',
         lambda _: generator(ordering=dict(type='amt_mm.Attention')),
         KeyError, "ordering must be one of ['amt_mm.AttMaskHighOrdering', "),
    Case('layout unknown',
         lambda _: generator(layout=dict(type='amt_mm.ThrowHigh')),
         KeyError, "layout must be one of ['amt_mm.ShowHints', 'amt_mm.Throw"),
    Case('ordering a name instead of a dict',
         lambda _: generator(ordering='AttentionOrdering'), TypeError,
         "ordering must be a dict with 'type', got 'AttentionOrdering'"),
    Case('ordering where the layout belongs',
         lambda _: generator(ordering=dict(type='amt_mm.ThrowLow')),
         TypeError, 'ordering'),
    Case('min_patches 0', lambda _: ordering(
        type='amt_mm.BlockOrdering', min_patches=0), ValueError,
         'min_patches must be an integer >= 1, got 0'),
    Case('min_aspect above 1', lambda _: ordering(
        type='amt_mm.BlockOrdering', min_aspect=3.), ValueError,
         'min_aspect must be in (0, 1], got 3.0'),
    Case('hint_ratio 0', lambda _: generator(layout=dict(
        type='amt_mm.ShowHints', hint_ratio=0.)), ValueError,
         'hint_ratio must be in (0, 1], got 0.0'),
    Case('top_ratio 1', lambda _: generator(layout=dict(
        type='amt_mm.ShowHints', top_ratio=1.)), ValueError,
         'top_ratio must be in (0, 1), got 1.0'),
    Case('more hints than visible tokens', lambda _: generator(layout=dict(
        type='amt_mm.ShowHints', hint_ratio=1., top_ratio=0.2)), ValueError,
         'hint_ratio 1.0 of top_ratio 0.2 must show at most the 30 visible of '
         '196 tokens, got 40 hints'),
    Case('hints around a layout unknown', lambda _: generator(layout=dict(
        type='amt_mm.ShowHints', rest=dict(type='amt_mm.ThrowHigh'))),
         KeyError, 'rest must be one of'),
    # schedules
    Case('schedule that ends before it begins', lambda _: generator(
        mask_ratio=linear(.4, .5, until=3, begin=3)), ValueError,
         'until must be > begin, got 3 and 3'),
    Case('schedule without an end', lambda _: generator(
        mask_ratio=dict(type='amt_mm.LinearSchedule', start=.4, end=.5)),
         TypeError, "'until'"),
    Case('schedule from a string', lambda _: generator(
        mask_ratio=linear('a', .5)), TypeError,
         "start must be a number, got 'a'"),
    Case('schedule without type', lambda _: generator(
        mask_ratio=dict(start=.4, end=.5, until=9)), TypeError,
         'mask_ratio must be a number, got {'),
    Case('schedule that leaves nothing visible', lambda _: generator(
        mask_ratio=linear(.45, .6)), ValueError,
         'mask_ratio + throw_ratio must be < 1, got 0.6 + 0.4'),
    Case('schedules that leave nothing visible where they meet',
         lambda _: generator(
             mask_ratio=linear(.1, .6, until=10),
             throw_ratio=linear(.48, .1, begin=8, until=20)), ValueError,
         'must be < 1, got 0.6 + 0.416666667'),
    Case('temperature that a schedule takes to 0', lambda _: generator(
        ordering=dict(type='amt_mm.AttentionOrdering',
                      temperature=linear(2., 0.))), ValueError,
         'temperature must be in (0, inf), got 0.0'),
    Case('schedule of hints that are too many', lambda _: generator(
        layout=dict(type='amt_mm.ShowHints', top_ratio=linear(.1, .5))),
         ValueError, 'the 30 visible of 196 tokens, got 49 hints'),
    Case('schedule as an ordering', lambda _: generator(
        ordering=linear(1., 2.)), TypeError, 'ordering must be'),
    Case('schedule in a pipeline without SeedSample',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, dict(MASK, mask_ratio=linear(.4, .5)), PACK)),
         KeyError, "put dict(type='amt_mm.SeedSample') first in the pipeline "
         "and dict(type='amt_mm.EpochSeedHook') into custom_hooks"),
    Case('schedule in a run without EpochSeedHook',
         lambda tmp: train(tmp, pipeline=(
             dict(type='amt_mm.SeedSample'), LOAD, CROP,
             dict(MASK, mask_ratio=linear(.4, .5)), PACK)),
         ValueError, "add dict(type='amt_mm.EpochSeedHook')"),
    Case('temperature 0', lambda _: ordering(temperature=0), ValueError,
         'temperature must be in (0, inf), got 0'),
    Case('temperature negative', lambda _: ordering(temperature=-1.),
         ValueError, 'temperature must be in (0, inf), got -1.0'),
    Case('temperature infinite', lambda _: ordering(temperature=np.inf),
         ValueError, 'temperature must be in (0, inf), got inf'),
    Case('temperature a string', lambda _: ordering(temperature='hot'),
         TypeError, 'temperature'),
    Case('uniform_mix 1', lambda _: ordering(uniform_mix=1), ValueError,
         'uniform_mix must be in [0, 1), got 1'),
    Case('uniform_mix negative', lambda _: ordering(uniform_mix=-0.1),
         ValueError, 'uniform_mix must be in [0, 1), got -0.1'),
    # plans
    Case('images of a batch with different counts', uneven_batch, ValueError,
         'every image of a batch must have the same number of visible '
         'tokens, got [1, 2]'),
    Case('no plan in the data samples', batch_without_plan, ValueError,
         "data_samples must hold 'mask_plan': the pipeline needs "
         "dict(type='amt_mm.AMTMaskGenerator')"),
    Case('images off the grid of the plan',
         lambda _: plan().patches(torch.zeros(1, 3, 9, 8),
                                  plan().ids_visible), ValueError,
         'inputs must be 1 images of 2 x 2 square patches as the plan has, '
         'got shape (1, 3, 9, 8)'),
    Case('flags that are no int8',
         lambda _: MaskPlan.from_flags(np.array([[[1, -1], [0, 0]]])),
         TypeError, 'flags must be int8, got int64'),
    Case('flags that are no role',
         lambda _: MaskPlan.from_flags(np.full((1, 2, 2), 2, np.int8)),
         ValueError, 'flags must hold only 0, 1 and -1'),
    Case('more images than plans',
         lambda _: plan().patches(torch.zeros(2, 3, 8, 8),
                                  plan().ids_visible), ValueError,
         'inputs must be 1 images'),
    # model
    Case('head_reduction unknown',
         lambda _: MODELS.build(dict(model_config(), head_reduction='max')),
         ValueError, "head_reduction must be one of ['mean_then_scale', "
         "'scale_then_mean'], got 'max'"),
    Case('reduction unknown in a call',
         lambda _: reduce_heads(torch.ones(1, 1, 4), 'sum'), ValueError,
         "got 'sum'"),
    Case('neck.embed_dim off the backbone',
         lambda _: model(neck=dict(embed_dim=64)), ValueError,
         'neck.embed_dim must be 32 to fit embed_dims of backbone.arch, got '
         '64'),
    Case('neck.num_patches off the backbone',
         lambda _: model(neck=dict(num_patches=25)), ValueError,
         'neck.num_patches must be (4, 4) to fit backbone.img_size / '
         'backbone.patch_size, got (5, 5)'),
    Case('neck.num_patches not square',
         lambda _: model(neck=dict(num_patches=12)), ValueError,
         'num_patches must be (h, w) where it is not a square number, got 12'),
    Case('neck.patch_size off the head',
         lambda _: model(neck=dict(patch_size=16)), ValueError,
         'neck.patch_size ** 2 * neck.in_chans must be 192 to fit '
         'head.patch_size ** 2 * head.in_channels, got 768'),
    Case('head.patch_size off the backbone',
         lambda _: model(head=dict(patch_size=16)), ValueError,
         'head.patch_size must be 8 to fit backbone.patch_size, got 16'),
    Case('head.in_channels off the neck',
         lambda _: model(head=dict(in_channels=1)), ValueError,
         'neck.in_chans must be 64'),
    Case('img_size of the backbone off the neck',
         lambda _: model(backbone=dict(img_size=40)), ValueError,
         'neck.num_patches must be (5, 5)'),
    Case('patches that overlap',
         lambda _: model(backbone=dict(patch_cfg=dict(stride=4))),
         ValueError, 'patch_cfg must keep the patches square and side by '
         'side, got kernel_size (8, 8) and stride (4, 4)'),
    Case('patches that are not square',
         lambda _: model(backbone=dict(patch_size=(8, 4))), ValueError,
         'patch_cfg must keep the patches square'),
    Case('backbone of plain MAE',
         lambda _: model(backbone=dict(type='mmpretrain.MAEViT')), TypeError,
         'backbone'),
    Case('neck of plain MAE',
         lambda _: model(neck=dict(type='mmpretrain.MAEPretrainDecoder')),
         TypeError, 'neck'),
    Case('head of plain MAE',
         lambda _: model(head=dict(type='mmpretrain.MAEPretrainHead')),
         TypeError, 'head'),
    Case('backbone without its last norm',
         lambda _: model(backbone=dict(final_norm=False)), ValueError,
         'final_norm'),
    Case('saliency of a ViT without class token',
         lambda _: vit_saliency(
             VisionTransformer(arch=ARCH, img_size=32, patch_size=8,
                               with_cls_token=False, out_type='featmap'),
             torch.zeros(1, 3, 32, 32)), ValueError, 'class token'),
    Case('heads that do not divide the width', lambda _: model(
        neck=dict(decoder_num_heads=3)), ValueError,
         'decoder_embed_dim must be a multiple of decoder_num_heads, got 16 '
         'by 3'),
    Case('heads of an architecture', lambda _: model(
        backbone=dict(arch=dict(ARCH, num_heads=5))), ValueError,
         'arch.embed_dims must be a multiple of num_heads, got 32 by 5'),
    Case('architecture with a key too many', lambda _: model(
        backbone=dict(arch=dict(ARCH, num_layer=3))), ValueError,
         "arch must be a name or a dict of ['embed_dims', "),
    Case('architecture unknown', lambda _: model(
        backbone=dict(arch='vit-b')), ValueError,
         "cannot build model.backbone from {'type': 'amt_mm.AMTMAEViT', "
         "'arch': 'vit-b', "),
    Case('width that positions do not divide', lambda _: model(
        backbone=dict(arch=dict(ARCH, embed_dims=30, num_heads=3))),
         ValueError, 'arch.embed_dims must be a multiple of'),
    Case('drop path NaN', lambda _: model(
        backbone=dict(drop_path_rate=float('nan'))), ValueError,
         'drop_path_rate must be in [0, 1), got nan'),
    Case('eps of a norm negative', lambda _: model(
        backbone=dict(norm_cfg=dict(type='LN', eps=-1.))), ValueError,
         'norm_cfg.eps must be in [0, 1], got -1.0'),
    Case('layers in the millions', lambda _: model(
        neck=dict(decoder_depth=10**9)), ValueError,
         'decoder_depth must be an integer in [0, 1000], got 1000000000'),
    Case('patches with padding', lambda _: model(
        backbone=dict(patch_cfg=dict(padding=1))), ValueError,
         'patch_cfg must have padding 0 and dilation 1'),
    Case('norm_pix a string', lambda _: model(head=dict(norm_pix='False')),
         TypeError, "norm_pix must be True or False, got 'False'"),
    Case('loss divided by no channel', lambda _: model(head=dict(loss=dict(
        type='mmpretrain.PixelReconstructionLoss', criterion='L2',
        channel=0))), ValueError,
         'head.loss.channel must be an integer >= 1, got 0'),
    Case('loss unknown', lambda _: model(head=dict(loss=dict(
        type='mmpretrain.PixelReconstructionLoss', criterion='L3'))),
         ValueError, "'criterion': 'L3'"),
    Case('stride of a decoder negative', lambda _: MODELS.build(dict(
        type='amt_mm.AMTSimMIM',
        backbone=dict(type='amt_mm.AMTSimMIMViT', arch=ARCH, img_size=32,
                      patch_size=8),
        neck=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=32,
                  encoder_stride=-8),
        head=dict(type='amt_mm.AMTSimMIMHead', patch_size=8, loss=dict(
            type='mmpretrain.PixelReconstructionLoss', criterion='L1')))),
         ValueError, 'neck.encoder_stride must be 8 to fit '
         'backbone.patch_size, got -8'),
    Case('patch_size of a head a float', lambda _: MODELS.build(dict(
        type='amt_mm.AMTSimMIMHead', patch_size=8., loss=dict(
            type='mmpretrain.PixelReconstructionLoss', criterion='L1'))),
         ValueError, 'patch_size must be an integer >= 1, got 8.0'),
    Case('Gaussian of one pixel', lambda _: MODELS.build(dict(
        type='amt_mm.AMTHOGGenerator', gaussian_window=1)), ValueError,
         'gaussian_window must be 0 or >= 2, got 1'),
    Case('weights to start from that are no path', lambda _: MODELS.build(
        dict(model_config(), pretrained=5)), TypeError,
         'pretrained must be a string, got 5'),
    # pipelines
    Case('crop of no size', lambda tmp: folder(
        images(tmp), pipeline=[dict(CROP, scale=0)]), ValueError,
         'scale must be an int or (height, width), got 0; a side is in [2, '),
    Case('crop ratio NaN', lambda tmp: folder(images(tmp), pipeline=[
        dict(CROP, crop_ratio_range=(float('nan'), 1.))]), ValueError,
         'crop_ratio_range must be in (0, inf), got nan'),
    Case('probability of a flip above 1', lambda tmp: folder(
        images(tmp), pipeline=[dict(FLIP, prob=2.)]), ValueError,
         "cannot build pipeline.0 of prob, direction, swap_seg_labels from {'"
         "type': 'RandomFlip', 'prob': 2.0}: AssertionError"),
    Case('step of another library that fails', lambda tmp: folder(
        images(tmp), pipeline=[LOAD, dict(PACK, meta_keys=5)])[0],
         ValueError, 'the pipeline failed at PackInputs('),
    Case('step that lacks what it needs', lambda tmp: folder(
        images(tmp), pipeline=[CROP])[0], KeyError,
         "RandomResizedCropWithBox needs 'img', which no step before it in "
         'the pipeline left'),
    Case('step without type', lambda tmp: folder(
        images(tmp), pipeline=[dict(scale=32)]), TypeError,
         "pipeline.0 must be a dict with 'type', got {'scale': 32}"),
    Case('pipeline a name', lambda tmp: folder(
        images(tmp), pipeline='load'), TypeError,
         "pipeline must be a list of dicts, got 'load'"),
    Case('flag of a data set a string', lambda tmp: folder(
        images(tmp), test_mode='no'), TypeError,
         "test_mode must be True or False, got 'no'"),
    Case('ordering empty', lambda _: generator(ordering={}), TypeError,
         "ordering must be a dict with 'type', got {}"),
    Case('argument that an ordering does not have', lambda _: generator(
        ordering=dict(type='amt_mm.RandomOrdering', temperature=2.)),
         ValueError, "'temperature': 2.0}: TypeError: RandomOrdering() takes "
         'no arguments'),
    # data sets
    Case('missing folder', lambda tmp: folder(tmp / 'none'),
         FileNotFoundError, 'data_root must be a folder of images, got'),
    Case('data_root a file',
         lambda tmp: folder(images(tmp) / '0.jpg'), FileNotFoundError,
         "0.jpg', which is no folder"),
    Case('data_root not set', lambda _: DATASETS.build(
        dict(type='amt_mm.ImageFolder')), FileNotFoundError,
         "data_root must be a folder of images, got ''"),
    Case('empty folder', folder, FileNotFoundError,
         "holds no image: no file below it ends in ['.bmp', '.jpeg', '.jpg'"),
    Case('extensions one string',
         lambda tmp: folder(images(tmp), extensions='.jpg'), TypeError,
         "extensions must be a sequence of strings, got '.jpg'"),
    Case('list of images that is empty',
         lambda tmp: [(images(tmp) / 'list.txt').touch(),
                      folder(tmp / 'images', ann_file='list.txt')],
         FileNotFoundError, 'list.txt'),
    Case('on_unreadable unknown',
         lambda tmp: folder(images(tmp), on_unreadable='ignore'), ValueError,
         "on_unreadable must be one of ('skip', 'raise'), got 'ignore'"),
    Case('one corrupt image that stops the run',
         lambda tmp: with_corrupt_image(tmp, on_unreadable='raise')[3],
         UnreadableImageError, '3.jpg: '),
    Case('no image can be read',
         lambda tmp: [(images(tmp, 1) / '0.jpg').write_bytes(b''),
                      folder(tmp / 'images')[0]], UnreadableImageError,
         'images'),
    # stores
    Case('no store', lambda tmp: store(tmp).read(0), SaliencyMapsLostError,
         'manifest.json is missing. SaliencyUpdateHook makes it'),
    Case('truncated store', lambda tmp: damaged(tmp, 140).read(0),
         SaliencyMapsLostError, 'epoch_0040.npy: mmap length is greater'),
    Case('empty file of maps', lambda tmp: damaged(tmp, 0).read(0),
         SaliencyMapsLostError, 'cannot read the saliency maps'),
    Case('garbage in the manifest',
         lambda tmp: with_manifest(tmp, '{').read(0), SaliencyMapsLostError,
         'manifest.json: JSONDecodeError'),
    Case('generations in the manifest not a table',
         lambda tmp: with_manifest(tmp, MANIFEST % ('40', '[40]')).verify(40),
         SaliencyMapsLostError, 'cannot read'),
    Case('generation in the manifest not a number',
         lambda tmp: with_manifest(tmp, MANIFEST % ('"x"', '{}')).read(0),
         SaliencyMapsLostError, 'cannot read'),
    Case('generation in use that is not held',
         lambda tmp: with_manifest(tmp, MANIFEST % ('80', '{}')).read(0),
         SaliencyMapsLostError, 'cannot read the saliency maps'),
    Case('store of another data set',
         lambda tmp: [filled(tmp), store(
             tmp, dataset_id=fingerprint('x')).read(0)], SaliencyStoreError,
         'belongs to another data set: it has (images, grid, fingerprint) '
         '(4, (2, 2), '),
    Case('store of a shorter data set',
         lambda tmp: [filled(tmp), store(tmp, num_images=5).read(0)],
         SaliencyStoreError, 'training has (5, (2, 2), '),
    Case('store of another grid',
         lambda tmp: [filled(tmp), store(tmp, grid=(4, 4)).read(0)],
         SaliencyStoreError, 'training has (4, (4, 4), '),
    Case('maps of the wrong shape',
         lambda tmp: filled(tmp).write(80, np.zeros((4, 2, 3))), ValueError,
         'maps must have shape (4, 2, 2), got (4, 2, 3)'),
    Case('generation that was pruned',
         lambda tmp: filled(tmp).verify(80), SaliencyMapsLostError,
         'holds no generation 80, only [40]'),
    # arguments of hooks
    *(Case(f'interval {value!r}', lambda _, v=value: hook(interval=v),
           ValueError, f'interval must be an integer {rule}, got {value!r}')
      for value, rule in (
          (0, '>= 1'), (-40, '>= 1'), (True, '>= 1'), ('40', '>= 1'),
          (1.5, 'or, as a share of the run, in (0, 1)'),
          (0., 'or, as a share of the run, in (0, 1)'))),
    Case('begin negative', lambda _: hook(begin=-1), ValueError,
         'begin must be an integer >= 0, got -1'),
    Case('begin a share of 1', lambda _: hook(begin=1.), ValueError,
         'begin must be an integer or, as a share of the run, in (0, 1), got '
         '1.0'),
    Case('batch_size negative', lambda _: hook(batch_size=-1), ValueError,
         'batch_size must be an integer >= 1, got -1'),
    Case('batch_size 0', lambda _: hook(batch_size=0), ValueError,
         'batch_size must be an integer >= 1, got 0'),
    Case('num_workers negative', lambda _: hook(num_workers=-1), ValueError,
         'num_workers must be an integer in [0, 1024], got -1'),
    Case('keep 0', lambda _: hook(keep=0), ValueError,
         'keep must be an integer >= 1, got 0'),
    Case('max_uniform_share above 1',
         lambda _: hook(max_uniform_share=2), ValueError,
         'max_uniform_share must be in [0, 1], got 2'),
    Case('interval of the statistics 0', lambda _: HOOKS.build(
        dict(type='amt_mm.MaskStatisticsHook', interval=0)), ValueError,
         'interval must be an integer >= 1, got 0'),
    Case('source unknown', lambda _: hook(source=dict(type='amt_mm.Folder')),
         KeyError, "source must be one of ['amt_mm.BoxSaliency', 'amt_mm.Centr"
         "eSaliency', 'amt_mm.CornerSaliency', 'amt_mm.FeatureSaliency', 'amt_"
         "mm.FolderSaliency', 'amt_mm.MixedSaliency', 'amt_mm.ModelSaliency', "
         "'amt_mm.PixelSaliency', 'amt_mm.RandomSaliency', 'amt_mm.TeacherSal"
         "iency'], got 'amt_mm.Folder'"),
    Case('source a name instead of a dict',
         lambda _: hook(source='FolderSaliency'), TypeError,
         "source must be a dict with 'type', got 'FolderSaliency'"),
    Case('source in a folder that is none', lambda tmp: hook(source=dict(
        type='amt_mm.FolderSaliency', root=str(tmp / 'no'))),
         FileNotFoundError, 'root of FolderSaliency must be a folder, got '),
    Case('teacher with an unknown reduction', lambda _: hook(source=dict(
        type='amt_mm.TeacherSaliency', checkpoint='x.pth', backbone={},
        head_reduction='max')), ValueError, 'head_reduction must be one of'),
    Case('source empty', lambda _: hook(source={}), TypeError,
         "source must be a dict with 'type', got {}"),
    Case('workers in the millions', lambda _: hook(num_workers=10**9),
         ValueError, 'num_workers must be an integer in [0, 1024], got 10000'),
    # runs
    Case('images not packed',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, MASK, dict(PACK, input_key='image'))), ValueError,
         "whose input_key is that of an image; got a batch of ['data_samples"),
    Case('backbone of images of four channels',
         lambda tmp: train(tmp, model=model_config(backbone=dict(
             patch_cfg=dict(in_channels=4)))), ValueError,
         'in_channels must be 3 to fit the images, got 4'),
    Case('images of one channel',
         lambda tmp: train(tmp, pipeline=(
             dict(LOAD, color_type='grayscale'), CROP, MASK, PACK)),
         ValueError, 'in_channels must be 1 to fit the images, got 3'),
    Case('weights by a config that is none',
         lambda tmp: train(tmp, model=dict(model_config(), init_cfg=0.5)),
         ValueError, 'cannot initialise the weights by init_cfg'),
    Case('saliency images missing', lambda tmp: train(tmp, hooks=(dict(
        UPDATE, source=dict(type='amt_mm.FolderSaliency', root=str(tmp))), )),
         FileNotFoundError, '6 of 6 images have no saliency map below'),
    Case('teacher without a file', lambda tmp: train(tmp, hooks=(dict(
        UPDATE, source=dict(
            type='amt_mm.TeacherSaliency', checkpoint=str(tmp / 'no.pth'),
            backbone=dict(type='mmpretrain.VisionTransformer', arch=ARCH,
                          img_size=32, patch_size=8))), )),
         ValueError, 'no.pth: [Errno 2] No such file'),
    Case('generator without hook', lambda tmp: train(tmp, hooks=()),
         ValueError, 'AMTMaskGenerator has no saliency store to read: add '
         "dict(type='amt_mm.SaliencyUpdateHook') to custom_hooks"),
    Case('hook without generator',
         lambda tmp: train(tmp, pipeline=(LOAD, CROP, PACK)), ValueError,
         'the train pipeline has no AMTMaskGenerator with an ordering'),
    Case('hook beside a random ordering',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, dict(MASK, ordering=dict(
                 type='amt_mm.RandomOrdering')), PACK)), ValueError,
         'has no effect: the train pipeline has no AMTMaskGenerator'),
    Case('pipeline that does not crop with a box',
         lambda tmp: train(tmp, pipeline=(
             LOAD, dict(type='RandomResizedCrop', scale=32), MASK, PACK)),
         ValueError, "must crop with dict(type='amt_mm.RandomResizedCropWith"
         "Box') or 'amt_mm.LoadResizedCrop' at its top level, got ['LoadImage"
         "', 'RandomResizedCrop', "),
    Case('generator before the crop',
         lambda tmp: train(tmp, pipeline=(LOAD, MASK, CROP, PACK)),
         KeyError, "AMTMaskGenerator needs 'crop_box' to crop the saliency"),
    Case('two generators of different grids',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, MASK, dict(MASK, input_size=64), PACK)), ValueError,
         'all AMTMaskGenerators must have one token grid, got [(4, 4), (8,'),
    Case('plan not packed',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, MASK, dict(type='PackInputs'))), ValueError,
         "PackInputs(algorithm_keys=('mask_plan', 'saliency'))"),
    Case('crops of another size than the generator',
         lambda tmp: train(tmp, pipeline=(
             LOAD, dict(CROP, scale=40), MASK, PACK)), ValueError,
         'got shape (3, 3, 40, 40)'),
    Case('patches of another size than the model',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, dict(MASK, patch_size=4), PACK)), ValueError,
         'patch'),
    Case('two flips',
         lambda tmp: train(tmp, pipeline=(
             LOAD, CROP, FLIP, FLIP, MASK, PACK)), ValueError,
         'the train pipeline must flip at most once'),
    Case('iteration-based loop',
         lambda tmp: train(tmp, train_cfg=dict(by_epoch=False, max_iters=4)),
         ValueError, 'SaliencyUpdateHook counts epochs: train_cfg must be an '
         'EpochBasedTrainLoop, got IterBasedTrainLoop'),
    Case('several data sets in one',
         lambda tmp: train(tmp, dataset=two_folders(tmp)), ValueError,
         'train_dataloader.dataset must be one mmengine BaseDataset (or a '
         'RepeatDataset of one), so that each image has one saliency map; '
         'got ConcatDataset'),
    Case('model that tells no saliency',
         lambda tmp: train(tmp, model=dict(
             type='mmpretrain.MAE',
             backbone=dict(type='mmpretrain.MAEViT', arch=ARCH, img_size=32,
                           patch_size=8),
             neck=dict(type='mmpretrain.MAEPretrainDecoder', num_patches=16,
                       patch_size=8, embed_dim=32, decoder_embed_dim=16,
                       decoder_depth=1, decoder_num_heads=2),
             head=model_config()['head'])), ValueError,
         'model must have a method saliency(inputs), as amt_mm.AMTMAE has; '
         'got MAE'),
    Case('maps that are all NaN',
         lambda tmp: train(tmp, optim_wrapper=dict(
             optimizer=dict(type='SGD', lr=1e30))), RuntimeError,
         'saliency update before epoch 1: 6 of 6 maps are constant or not '
         'finite, more than max_uniform_share 0.5'),
    Case('maps that are all constant',
         lambda tmp: train(tmp, model=dead_backbone(), optim_wrapper=dict(
             optimizer=dict(type='SGD', lr=0.))), RuntimeError,
         '6 of 6 maps are constant or not finite'),
    Case('samples seeded without their hook',
         lambda tmp: train(tmp, pipeline=(
             dict(type='amt_mm.SeedSample'), LOAD, CROP, MASK, PACK)),
         ValueError, 'SeedSample does not know the epoch: add dict(type='
         "'amt_mm.EpochSeedHook') to custom_hooks"),
    Case('resume after an image was added', resume_with_another_image,
         SaliencyStoreError, 'training has (7, (4, 4), '),
    Case('store_dir a file', lambda tmp: train(
        tmp, hooks=(dict(UPDATE, store_dir=str(images(tmp) / '0.jpg')), )),
         SaliencyStoreError, '0.jpg'),
    Case('plan of a run without generator',
         lambda tmp: estimate_cost(
             run_config(tmp, pipeline=(LOAD, CROP, PACK))), ValueError,
         'the train pipeline has no amt_mm.AMTMaskGenerator'),
    Case('plan of an iteration-based run',
         lambda tmp: estimate_cost(run_config(
             tmp, train_cfg=dict(by_epoch=False, max_iters=4))), ValueError,
         'EpochBasedTrainLoop'),
]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_wrong_input_is_told_why(case: Case, tmp_path: Path) -> None:
    with pytest.raises(case.error) as caught:
        case.call(tmp_path)
    assert case.message in ' '.join(str(caught.value).split())


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 45


@pytest.mark.parametrize('begin', [2, 40, 0.99])
def test_run_that_never_updates_warns(tmp_path: Path, begin: Any) -> None:
    hook = dict(UPDATE, begin=begin)
    train(tmp_path, hooks=(hook, ), log_level='WARNING')
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    expected = (f'saliency is never updated: begin {max(2, begin)} is not '
                'below max_epochs 2, so the whole training uses the warm-up '
                'ratios.')
    assert ' '.join(log.split()).count(expected) == 1


def test_the_right_input_runs(tmp_path: Path) -> None:
    train(tmp_path)
    paths = (f'{i}.jpg' for i in range(6))
    assert store(tmp_path / 'run', num_images=6, grid=(4, 4),
                 dataset_id=fingerprint(paths)).generations == [1]


def _print_table() -> None:
    """Write ``name | exception | message`` of every case."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as root:
            try:
                case.call(Path(root))
                name, text = 'none', ''
            except Exception as error:
                name, text = type(error).__name__, str(error)
        text = ' '.join(text.replace(root, 'DIR').split())
        sys.stdout.write(f'{case.name} | {name} | {text}\n')


if __name__ == '__main__':
    _print_table()
