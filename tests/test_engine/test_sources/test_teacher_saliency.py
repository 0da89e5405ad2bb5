"""A frozen ViT as the source of the maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import VisionTransformer
from tiny_run import NUM_IMAGES, loss_trace, store_of

from amt_mm.datasets.training_set import unwrap
from amt_mm.engine.saliency_maps import whole_images
from amt_mm.engine.sources import TeacherSaliency
from amt_mm.saliency import vit_saliency
from amt_mm.weights import load_encoder

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
BACKBONE = dict(type='mmpretrain.VisionTransformer', arch=ARCH, img_size=32,
                patch_size=8)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    vit = VisionTransformer(ARCH, img_size=32, patch_size=8)
    vit.eval()
    for layer in vit.layers:  # far from uniform attention
        torch.nn.init.normal_(layer.attn.qkv.weight)
    return vit


def test_run_with_a_teacher(tiny_cfg, run, teacher, tmp_path):
    torch.save(dict(state_dict={
        f'backbone.{k}': v for k, v in teacher.state_dict().items()
    }), tmp_path / 'teacher.pth')
    cfg = tiny_cfg(**{'train_cfg.max_epochs': 3})
    cfg.custom_hooks[1] = dict(
        type='amt_mm.SaliencyUpdateHook', begin=1, source=dict(
            type='amt_mm.TeacherSaliency', backbone=BACKBONE,
            checkpoint=str(tmp_path / 'teacher.pth')))
    runner = run(cfg)
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


def test_checkpoint_of_a_run_is_read(tiny_cfg, run):
    """mmengine keeps its log beside the weights."""
    cfg = tiny_cfg(**{'train_cfg.max_epochs': 2})
    runner = run(cfg)
    student = runner.model.backbone
    vit = VisionTransformer(dict(cfg.model.backbone.arch), img_size=32,
                            patch_size=8)
    load_encoder(vit, f'{runner.work_dir}/epoch_2.pth')
    for key, value in student.state_dict().items():
        assert torch.equal(vit.state_dict()[key], value), key


@pytest.mark.parametrize('backbone', [
    dict(type='mmpretrain.ResNet', depth=18),
    {**BACKBONE, 'with_cls_token': False, 'out_type': 'avg_featmap'}])
def test_a_backbone_that_does_not_look(backbone):
    with pytest.raises(ValueError, match='VisionTransformer with a class tok'):
        TeacherSaliency('x.pth', backbone).build()


def test_patches_of_another_grid(tiny_cfg, run, tmp_path):
    backbone = {**BACKBONE, 'patch_size': 16}
    torch.save(MODELS.build(backbone).state_dict(), tmp_path / 'teacher.pth')
    cfg = tiny_cfg()
    cfg.custom_hooks[1] = dict(
        type='amt_mm.SaliencyUpdateHook', source=dict(
            type='amt_mm.TeacherSaliency', backbone=backbone,
            checkpoint=str(tmp_path / 'teacher.pth')))
    with pytest.raises(ValueError, match=(
            r'maps of TeacherSaliency, \(2, 2\), got \(4, 4\)')):
        run(cfg)
