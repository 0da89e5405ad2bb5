"""An encoder is loaded whole, or the run stops."""

from __future__ import annotations

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmpretrain.models import SwinTransformer
from tiny_checkpoints import ARCH, SIDE, build, mae_config, save, vit

from amt_mm.weights import load_encoder


@pytest.fixture
def pretrained(tmp_path):
    """A whole model's checkpoint."""
    return save(build(mae_config()), tmp_path / 'mae.pth', mae_config())


def initialised(checkpoint):
    """Build a backbone from a config that names a checkpoint."""
    backbone = MODELS.build(dict(
        type='mmpretrain.VisionTransformer', arch=ARCH, img_size=32,
        patch_size=SIDE, init_cfg=dict(
            type='Pretrained', _scope_='amt_mm', checkpoint=checkpoint)))
    backbone.init_weights()


def test_report_names_what_was_taken_left_and_lacked(pretrained):
    report = load_encoder(
        vit(out_type='avg_featmap', final_norm=False), pretrained)
    assert ('took 28 keys (cls_token 1, pos_embed 1, patch_embed 2, '
            'layers 24)') in report
    assert 'left 34 keys (ln1 2, neck 32)' in report
    assert 'resized nothing' in report
    assert 'lacked, so new: ln2.weight, ln2.bias.' in report


def test_report_reaches_the_log(pretrained, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        initialised(pretrained)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.text.count(
        f'encoder loaded from {pretrained}: took') == 1


@pytest.mark.parametrize('make, message', [
    (lambda: vit(dict(ARCH, feedforward_channels=96)), 'size mismatch'),
    (lambda: vit(qkv_bias=False), 'the model lacks layers.0.attn.qkv.bias'),
    (lambda: vit(dict(ARCH, embed_dims=48), patch_size=4),
     'width 32 instead of 48, patch_size 8 instead of 4'),
    (lambda: SwinTransformer(dict(
        embed_dims=32, depths=[1] * 4, num_heads=[4] * 4), 32, SIDE),
     'num_heads 4 instead of')])
def test_another_architecture_is_refused(pretrained, make, message):
    with pytest.raises(ValueError, match=rf'mae.pth .*{message}'):
        load_encoder(make(), pretrained)


@pytest.mark.parametrize('name', ['', None])
def test_a_checkpoint_that_is_not_named(name):
    with pytest.raises(ValueError, match='init_cfg.checkpoint=FILE'):
        initialised(name)
