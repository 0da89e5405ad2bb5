"""Maps of the model in training, and of a frozen ViT.

A run with features of the model is in test_mixed_saliency.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models import VisionTransformer
from tiny_run import NUM_IMAGES, loss_trace, store_of, use_source

from amt_mm.datasets.training_set import unwrap
from amt_mm.engine.sources import (
    CornerSaliency,
    FeatureSaliency,
    ModelSaliency,
    TeacherSaliency,
)
from amt_mm.engine.whole_images import whole_images
from amt_mm.saliency import vit_saliency
from amt_mm.saliency.attention import border_contrast, vit_tokens
from amt_mm.saliency.pixels import weigh_centre

TEACHER_ARCH = dict(
    embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
BACKBONE = dict(type='mmpretrain.VisionTransformer', arch=TEACHER_ARCH,
                img_size=32, patch_size=8)


@pytest.fixture
def model(tiny_cfg):
    init_default_scope('mmpretrain')
    cfg = tiny_cfg()
    cfg.model.data_preprocessor = cfg.data_preprocessor
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.train()


def batches_of(images, size):
    return [dict(sample_idx=torch.arange(start, min(start + size,
                                                    len(images))),
                 inputs=images[start:start + size])
            for start in range(0, len(images), size)]


def connected(model, **options):
    source = FeatureSaliency(**options)
    source.setup(SimpleNamespace(model=model, optim_wrapper=None), None,
                   (4, 4))
    return source


@pytest.mark.parametrize('block', [0, -1])
@pytest.mark.parametrize('size', [7, 300])
def test_the_mean_of_each_position_is_taken_away(model, block, size,
                                                 monkeypatch):
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    monkeypatch.setattr('amt_mm.engine.sources.model_saliency.NUM_IMAGES',
                        10)
    num_first = 14 if size == 7 else 20  # whole batches of 10 or more
    source = connected(model, block=block, method='contrast',
                       centre_weight=.5)
    found = list(source.maps(batches_of(images, size)))
    index, maps = map(torch.cat, zip(*found, strict=True))
    assert index.tolist() == list(range(20)) and model.training
    with torch.no_grad():
        model.eval()
        inputs = model.data_preprocessor(dict(
            inputs=images, data_samples=None))['inputs']
        tokens = vit_tokens(model.backbone, inputs, block)
    expected = weigh_centre(
        border_contrast(tokens - tokens[:num_first].mean(0)), .5)
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-4)


def test_images_that_are_alike_have_constant_maps(model):
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    (_, maps), = connected(model).maps(batches_of(images, 4))
    assert (maps == maps[0, 0, 0]).all()
    assert list(connected(model).maps([])) == []  # no images, no maps


@pytest.mark.parametrize('block', [2, -3])
def test_a_block_that_is_not_there_is_refused(model, block):
    with pytest.raises(ValueError, match=(
            rf'block of FeatureSaliency must be .*\[-2, 1\], got {block}')):
        connected(model, block=block)


def test_the_corner_fills_the_map(monkeypatch):
    whole = torch.arange(2 * 14 * 14.).view(2, 14, 14)
    monkeypatch.setattr(ModelSaliency, 'maps',
                        lambda self, loader: [(torch.arange(2), whole)])
    (_, maps), = CornerSaliency(share=1 / 7).maps(SimpleNamespace())
    assert maps.shape == (2, 14, 14)
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        block = maps[0, 7 * corner[0]:, 7 * corner[1]:][:7, :7]
        assert (block == whole[0][corner]).all()


# ---- a teacher


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    vit = VisionTransformer(TEACHER_ARCH, img_size=32, patch_size=8)
    vit.eval()
    for layer in vit.layers:  # far from uniform attention
        torch.nn.init.normal_(layer.attn.qkv.weight)
    return vit


def test_run_with_a_teacher(tiny_cfg, run, teacher, tmp_path):
    torch.save(dict(state_dict={
        f'backbone.{k}': v for k, v in teacher.state_dict().items()
    }), tmp_path / 'teacher.pth')
    runner = run(use_source(tiny_cfg(**{'train_cfg.max_epochs': 2}), dict(
        type='amt_mm.TeacherSaliency', backbone=BACKBONE,
        checkpoint=str(tmp_path / 'teacher.pth')), begin=1))
    store = store_of(runner)
    assert store.generations == [1]  # once
    plain = whole_images(unwrap(runner.train_dataloader.dataset))
    for index in (0, NUM_IMAGES - 1):
        data = runner.model.data_preprocessor(
            dict(inputs=plain[index]['inputs'][None], data_samples=None))
        with torch.no_grad():
            expected = vit_saliency(teacher, data['inputs'])[0].numpy()
        np.testing.assert_allclose(store.read(index), expected, atol=1e-3)
    assert np.isfinite(loss_trace(runner)).all()


@pytest.mark.parametrize('backbone', [
    dict(type='mmpretrain.ResNet', depth=18),
    {**BACKBONE, 'with_cls_token': False, 'out_type': 'avg_featmap'}])
def test_a_backbone_that_does_not_look(backbone):
    with pytest.raises(ValueError, match='VisionTransformer with a class tok'):
        TeacherSaliency('x.pth', backbone).build()


def test_patches_of_another_grid(tiny_cfg, run, tmp_path):
    backbone = {**BACKBONE, 'patch_size': 16}
    torch.save(MODELS.build(backbone).state_dict(), tmp_path / 'teacher.pth')
    source = dict(type='amt_mm.TeacherSaliency', backbone=backbone,
                  checkpoint=str(tmp_path / 'teacher.pth'))
    with pytest.raises(ValueError, match=(
            r'maps of TeacherSaliency, \(2, 2\), got \(4, 4\)')):
        run(use_source(tiny_cfg(), source))
