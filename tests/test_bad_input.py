"""What a wrong config, data set or call is told: argument, rule and values."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmengine.runner import Runner
from mmpretrain.models import VisionTransformer
from mmpretrain.structures import DataSample
from small_configs import (
    ARCH,
    CROP,
    FLIP,
    LOAD,
    MASK,
    PACK,
    SEED,
    UPDATE,
    linear,
    mae,
    run_config,
    write_images,
)

from amt_mm.datasets.transforms import UnreadableImageError
from amt_mm.engine import estimate_cost
from amt_mm.masking import MaskPlan, count_tokens
from amt_mm.saliency import SaliencyStoreError, reduce_heads, vit_saliency


def train(root, **changes):
    Runner.from_cfg(run_config(root, **changes)).train()


def told(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in ' '.join(str(caught.value).split())


def cases(table):
    """Parametrise by rows of (changes, error, message)."""
    return pytest.mark.parametrize(
        'changes, error, message', table,
        ids=[str(row[0])[:60] for row in table])


# ---- masks

@cases([
    (dict(mask_ratio=1.2), ValueError, 'mask_ratio must be in [0, 1), got 1.'),
    (dict(throw_ratio='.5'), TypeError, "throw_ratio must be a number, got '"),
    (dict(mask_ratio=.75), ValueError,
     'mask_ratio + throw_ratio must be < 1, got 0.75 + 0.4'),
    (dict(warmup_throw_ratio=.25), ValueError,
     'warmup_mask_ratio + warmup_throw_ratio must be < 1, got 0.75 + 0.25'),
    (dict(mask_ratio=0.), ValueError, 'at least 1 token masked'),
    (dict(predict_ratio=0), ValueError, 'predict_ratio must be in (0, 1]'),
    (dict(predict_ratio='1'), TypeError, 'predict_ratio must be a number'),
    (dict(nodata_ratio=1.1), ValueError, 'nodata_ratio must be in (0, 1]'),
    (dict(rounding='round'), ValueError, 'rounding must be one of'),
    (dict(input_size=225), ValueError,
     'input_size must be a multiple of patch_size, got 225 by 16'),
    (dict(cell_size=56), ValueError,
     'cell_size must be a multiple of patch_size, got 56 by 16'),
    (dict(cell_size=48), ValueError,
     'input_size must be a multiple of cell_size, got 224 by 48'),
    (dict(patch_size=0), ValueError, 'patch_size must be an integer >= 1'),
    (dict(ordering='x'), TypeError, "ordering must be a dict with 'type', g"),
    (dict(ordering=dict(type='amt_mm.RandomOrdering', temperature=2.)),
     TypeError, 'RandomOrdering() takes no arguments'),
    (dict(ordering=dict(type='amt_mm.AttentionOrdering',
                        temperature=linear(2., 0.))), ValueError,
     'temperature must be in (0, inf), got 0.0'),
    (dict(ordering=dict(type='amt_mm.AttentionOrdering', uniform_mix=2)),
     ValueError, 'uniform_mix must be in [0, 1'),
    (dict(with_saliency=1), TypeError, 'with_saliency must be True or False'),
    (dict(ordering=dict(type='amt_mm.BlockOrdering', min_patches=0)),
     ValueError, 'min_patches must be an integer >= 1, got 0'),
    (dict(ordering=dict(type='amt_mm.BlockOrdering', min_aspect=3.)),
     ValueError, 'min_aspect must be in (0, 1], got 3.0'),
    (dict(layout=dict(type='amt_mm.ThrowHigh')), KeyError,
     "layout must be one of ['amt_mm.ShowHints', 'amt_mm.Throw"),
    (dict(layout=dict(type='amt_mm.ShowHints', hint_ratio=0.)), ValueError,
     'hint_ratio must be in (0, 1], got 0.0'),
    (dict(layout=dict(type='amt_mm.ShowHints', rest=dict(
        type='amt_mm.ThrowHigh'))), KeyError, 'rest must be one of'),
    (dict(layout=dict(type='amt_mm.ShowHints', top_ratio=linear(.1, .5))),
     ValueError, 'the 30 visible of 196 tokens, got 49 hints'),
    (dict(mask_ratio=linear(.4, .5, until=3, begin=3)), ValueError,
     'until must be > begin, got 3 and 3'),
    (dict(mask_ratio=dict(start=.4)), TypeError, 'mask_ratio must be a num'),
    (dict(mask_ratio=linear(.1, .6, until=10),
          throw_ratio=linear(.48, .1, begin=8, until=20)), ValueError,
     'must be < 1, got 0.6 + 0.416666667'),
])
def test_mask_generator(changes, error, message):
    told(lambda: TRANSFORMS.build({
        'type': 'amt_mm.AMTMaskGenerator', 'input_size': 224, **changes}),
        error, message)


def test_plans():
    """Counts that differ and images off the grid are in test_plan.py."""
    flags = np.array([[[1, 1], [-1, 0]]], np.int8)
    told(lambda: count_tokens(4, .6, .2, 'ceil'), ValueError,
         '1 visible, got 0.6 and 0.2 of 4 tokens: 3 masked, 1 thrown, 0')
    told(lambda: MaskPlan.from_flags(flags.astype(int)), TypeError,
         'flags must be int8, got int64')
    told(lambda: MaskPlan.from_flags(flags + np.int8(3)), ValueError,
         'flags must hold only 0, 1, -1, 2 and 3')
    told(lambda: MODELS.build(mae()).loss(
        torch.zeros(1, 3, 32, 32), [DataSample()]), ValueError,
        "data_samples must hold 'mask_plan': the pipeline needs dict(type='a")


# ---- models


@cases([
    (dict(head_reduction='max'), ValueError,
     "head_reduction must be one of ['mean_then_scale', 'scale_then_mean'], "),
    (dict(neck=dict(embed_dim=64)), ValueError,
     'neck.embed_dim must be 32 to fit embed_dims of backbone.arch, got 64'),
    (dict(neck=dict(num_patches=25)), ValueError,
     'neck.num_patches must be (4, 4) to fit backbone.img_size /'),
    (dict(neck=dict(num_patches=12)), ValueError,
     'num_patches must be (h, w) where it is not a square number, got 12'),
    (dict(neck=dict(patch_size=16)), ValueError,
     'neck.patch_size ** 2 * neck.in_chans must be 192 to fit head.pat'),
    (dict(head=dict(patch_size=16)), ValueError,
     'head.patch_size must be 8 to fit backbone.patch_size, got 16'),
    (dict(head=dict(norm_pix='False')), TypeError, 'norm_pix must be True or'),
    (dict(backbone=dict(patch_cfg=dict(stride=4))), ValueError,
     'patch_cfg must keep the patches square and side by side, got '),
    (dict(backbone=dict(patch_cfg=dict(padding=1))), ValueError,
     'patch_cfg must have padding 0 and dilation 1'),
    (dict(backbone=dict(final_norm=False)), ValueError, 'final_norm'),
    (dict(backbone=dict(type='mmpretrain.MAEViT')), TypeError,
     'backbone must be of the class AMTMAEViT, got MAEViT'),
    (dict(neck=dict(type='mmpretrain.MAEPretrainDecoder')), TypeError, 'neck'),
    (dict(head=dict(type='mmpretrain.MAEPretrainHead')), TypeError, 'head'),
])
def test_model(changes, error, message):
    told(lambda: MODELS.build(mae(**changes)), error, message)


def test_saliency():
    vit = VisionTransformer(arch=ARCH, img_size=32, patch_size=8,
                            with_cls_token=False, out_type='featmap')
    told(lambda: vit_saliency(vit, torch.zeros(1, 3, 32, 32)), ValueError,
         'class token')
    told(lambda: reduce_heads(torch.ones(1, 1, 4), 'sum'), ValueError, 'sum')


# ---- data sets


@cases([
    (dict(pipeline=[dict(CROP, scale=0)]), ValueError,
     'scale must be an int or (height, width), got 0; a side is in [2, '),
    (dict(pipeline=[dict(LOAD, keep_last='x')]), TypeError, 'keep_last must'),
    (dict(pipeline=[dict(LOAD, keep_all=None)]), TypeError, 'keep_all must'),
    (dict(data_root=__file__), FileNotFoundError, 'which is not a folder'),
    (dict(data_root=''), FileNotFoundError, "folder of images, got ''"),
    (dict(extensions=['.x']), FileNotFoundError, 'no file below it ends in '),
    (dict(extensions='.x'), TypeError, 'extensions must be a sequence of st'),
    (dict(on_unreadable='x'), ValueError, "must be one of ['skip', 'raise']"),
    (dict(ann_file='list.txt'), FileNotFoundError, 'list.txt'),
    (dict(on_unreadable='raise'), UnreadableImageError, '3.jpg: '),
])
def test_image_folder(changes, error, message, tmp_path):
    folder = write_images(tmp_path)
    (folder / 'list.txt').touch()
    (folder / '3.jpg').write_bytes((folder / '3.jpg').read_bytes()[:300])
    told(lambda: DATASETS.build({
        **dict(type='amt_mm.ImageFolder', data_root=str(folder),
               pipeline=[LOAD]), **changes})[3], error, message)


# ---- hooks

@cases([
    (dict(interval=0), ValueError, 'interval must be an integer >= 1, got 0'),
    (dict(interval=1.5), ValueError,
     'interval must be an integer or, as a share of the run, in (0, 1), got'),
    (dict(begin=-1), ValueError, 'begin must be an integer >= 0, got -1'),
    (dict(batch_size=0), ValueError, 'batch_size must be an integer >= 1'),
    (dict(keep=None), ValueError, 'keep must be an integer >= 1, got None'),
    (dict(num_workers=-1), ValueError, 'an integer in [0, 1024], got -1'),
    (dict(max_uniform_share=2), ValueError, 'max_uniform_share must be in [0'),
    (dict(source='x'), TypeError, "source must be a dict with 'type', got '"),
    (dict(source=dict(type='amt_mm.FolderSaliency', root='nowhere')),
     FileNotFoundError, 'root of FolderSaliency must be a folder, got '),
    (dict(source=dict(type='amt_mm.TeacherSaliency', checkpoint='x.pth',
                      backbone=dict(type='X'), head_reduction='max')),
     ValueError, 'head_reduction must be one of'),
])
def test_hook(changes, error, message):
    told(lambda: HOOKS.build({
        'type': 'amt_mm.SaliencyUpdateHook', **changes}), error, message)


# ---- runs


def piped(*steps):
    return dict(pipeline=(LOAD, *steps))


TEACHER = dict(UPDATE, source=dict(
    type='amt_mm.TeacherSaliency', checkpoint='nowhere.pth', backbone=dict(
        type='mmpretrain.VisionTransformer', arch=ARCH, img_size=32,
        patch_size=8)))
NO_MAPS = dict(UPDATE, source=dict(
    type='amt_mm.FolderSaliency', root=os.path.dirname(__file__)))
NO_SALIENCY = dict(
    type='mmpretrain.MAE',
    backbone=dict(type='mmpretrain.MAEViT', arch=ARCH, img_size=32,
                  patch_size=8),
    neck=dict(mae()['neck'], type='mmpretrain.MAEPretrainDecoder'),
    head=mae()['head'])
# it attends alike to everything, and learns nothing
DEAD = dict(
    model=mae(backbone=dict(init_cfg=dict(
        type='Constant', layer='Linear', val=0))),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)))
BY_ITERATIONS = dict(train_cfg=dict(by_epoch=False, max_iters=4))


@cases([
    (piped(CROP, dict(MASK, mask_ratio=linear(.4, .5)), PACK), KeyError,
     "put dict(type='amt_mm.SeedSample') first in the pipeline and dict("),
    (piped(SEED, CROP, MASK, PACK), ValueError,
     "SeedSample does not know the epoch: add dict(type='amt_mm.EpochSeed"),
    (dict(model=mae(backbone=dict(patch_cfg=dict(in_channels=4)))),
     ValueError, 'in_channels must be 3 to fit the images, got 4'),
    (dict(hooks=(NO_MAPS, )), FileNotFoundError,
     '6 of 6 images have no saliency map below'),
    (dict(hooks=(TEACHER, )), ValueError, 'nowhere.pth: [Errno 2] No such'),
    (dict(hooks=()), ValueError, 'AMTMaskGenerator has no saliency store to '
     "read: add dict(type='amt_mm.SaliencyUpdateHook') to custom_hooks"),
    (piped(CROP, PACK), ValueError, 'the train pipeline has no AMTMaskGenera'),
    (piped(dict(type='RandomResizedCrop', scale=32), MASK, PACK), ValueError,
     "must crop with dict(type='amt_mm.RandomResizedCropWithBox') or "),
    (piped(MASK, CROP, PACK), KeyError,
     "AMTMaskGenerator needs 'crop_box' to crop the saliency"),
    (piped(CROP, MASK, dict(MASK, input_size=64), PACK), ValueError,
     'all AMTMaskGenerators must have one token grid, got [(4, 4), (8,'),
    (piped(CROP, MASK, dict(type='PackInputs')), ValueError,
     "PackInputs(algorithm_keys=('mask_plan', 'saliency'))"),
    (piped(dict(CROP, scale=40), MASK, PACK), ValueError,
     'got shape (3, 3, 40, 40)'),
    (piped(CROP, dict(MASK, patch_size=4), PACK), ValueError, 'patch'),
    (piped(CROP, FLIP, FLIP, MASK, PACK), ValueError, 'must flip at mo'),
    (BY_ITERATIONS, ValueError,
     'must be an EpochBasedTrainLoop, got IterBasedTrainLoop'),
    (dict(model=NO_SALIENCY), ValueError,
     'model must have a method saliency(inputs), as amt_mm.AMTMAE has; '),
    (DEAD, RuntimeError, 'saliency update before epoch 1: 6 of 6 maps are '
     'constant or not finite, more than max_uniform_share 0.5'),
    (dict(hooks=(dict(UPDATE, store_dir=__file__), )), SaliencyStoreError,
     os.path.basename(__file__)),
])
def test_run(changes, error, message, tmp_path):
    told(partial(train, tmp_path, **changes), error, message)


@cases([
    (piped(CROP, PACK), ValueError, 'has no amt_mm.AMTMaskGenerator'),
    (BY_ITERATIONS, ValueError, 'EpochBasedTrainLoop'),
])
def test_cost_estimate(changes, error, message, tmp_path):
    told(lambda: estimate_cost(run_config(tmp_path, **changes)), error,
         message)


@pytest.mark.parametrize('begin', [40, 0.99])
def test_run_that_never_updates_warns(tmp_path, begin):
    hook = dict(UPDATE, begin=begin)
    train(tmp_path, hooks=(hook, ), log_level='WARNING')
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    expected = (f'saliency is never updated: begin {max(2, begin)} is not '
                'below max_epochs 2, so the whole training uses the warm-up '
                'ratios.')
    assert ' '.join(log.split()).count(expected) == 1
