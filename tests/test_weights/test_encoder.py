"""An encoder is loaded whole, or the run stops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.registry import MODELS
from mmpretrain.models import SwinTransformer, VisionTransformer
from mmpretrain.models.utils import resize_pos_embed

from amt_mm.models import AMTMAE
from amt_mm.weights import load_encoder, read_state_dict

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
HARM = Path('/tmp/amt_mm_harm')


def vit(arch: dict = ARCH, **kwargs: object) -> VisionTransformer:
    return VisionTransformer(
        arch, **{'img_size': 32, 'patch_size': 8, **kwargs})


@pytest.fixture
def pretrained(tmp_path) -> str:
    """A whole model's checkpoint."""
    torch.manual_seed(0)
    model = AMTMAE(
        backbone=dict(type='amt_mm.AMTMAEViT', arch=ARCH, img_size=32,
                      patch_size=8),
        neck=dict(type='amt_mm.AMTMAEPretrainDecoder', num_patches=16,
                  patch_size=8, embed_dim=24, decoder_embed_dim=24,
                  decoder_depth=1, decoder_num_heads=3),
        head=dict(type='amt_mm.AMTMAEPretrainHead', patch_size=8,
                  loss=dict(type='mmpretrain.PixelReconstructionLoss',
                            criterion='L2')))
    model.init_weights()
    path = str(tmp_path / 'mae.pth')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), path)
    return path


def build(checkpoint: str, **kwargs: object) -> VisionTransformer:
    """Build a backbone from a config that names a checkpoint."""
    backbone = MODELS.build(dict(
        type='mmpretrain.VisionTransformer', arch=ARCH, img_size=32,
        patch_size=8, init_cfg=dict(type='Pretrained', _scope_='amt_mm',
                                    checkpoint=checkpoint), **kwargs))
    backbone.init_weights()
    return backbone


@pytest.mark.parametrize('kwargs', [
    dict(out_type='avg_featmap', final_norm=False),
    dict(out_type='cls_token', final_norm=True, frozen_stages=3),
    dict(out_type='featmap', out_indices=[0, 1, 2], final_norm=False)])
def test_init_cfg_of_every_recipe_loads_the_encoder(pretrained, kwargs):
    """Nothing after it writes over a loaded weight."""
    state = read_state_dict(pretrained)
    backbone = build(pretrained, **kwargs)
    shared = [key for key in backbone.state_dict() if key[:3] != 'ln2']
    for key in shared:
        assert torch.equal(backbone.state_dict()[key],
                           state[f'backbone.{key}']), key
    assert len(shared) >= 39


def test_report_names_what_was_taken_left_and_lacked(pretrained):
    report = load_encoder(
        vit(out_type='avg_featmap', final_norm=False), pretrained)
    assert ('took 40 keys (cls_token 1, pos_embed 1, patch_embed 2, '
            'layers 36)') in report
    assert 'left 22 keys (ln1 2, neck 20)' in report
    assert 'resized nothing' in report
    assert 'lacked, so new: ln2.weight, ln2.bias.' in report


def test_report_reaches_the_log(pretrained, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        build(pretrained, out_type='cls_token')
    finally:
        logger.removeHandler(caplog.handler)
    lines = [r.getMessage() for r in caplog.records]
    assert sum(
        line.startswith(f'encoder loaded from {pretrained}: took')
        for line in lines) == 1


@pytest.mark.parametrize('size', [48, (32, 64), 16])
def test_position_embedding_of_another_size(pretrained, size):
    backbone = vit(img_size=size)
    grid = backbone.patch_resolution
    report = load_encoder(backbone, pretrained)
    expected = resize_pos_embed(
        read_state_dict(pretrained)['backbone.pos_embed'], (4, 4), grid,
        'bicubic')
    assert torch.equal(backbone.pos_embed, expected)
    length = 1 + grid[0] * grid[1]
    assert f'pos_embed (1, 17, 24) -> (1, {length}, 24)' in report


@pytest.mark.parametrize('change, message', [
    (dict(arch=dict(ARCH, feedforward_channels=96)), 'size mismatch'),
    (dict(qkv_bias=False), 'the model lacks layers.0.attn.qkv.bias'),
    (dict(patch_size=4, arch=dict(ARCH, embed_dims=48)),
     'width 24 instead of 48, patch_size 8 instead of 4'),
])
def test_another_architecture_is_refused(pretrained, change, message):
    with pytest.raises(ValueError, match=rf'mae.pth .*{message}'):
        load_encoder(vit(**change), pretrained)


def test_another_kind_of_network_is_refused(pretrained):
    arch = dict(embed_dims=24, depths=[1] * 4, num_heads=[3] * 4)
    swin = SwinTransformer(arch, img_size=32, patch_size=8)
    with pytest.raises(ValueError, match='file lacks .*stages'):
        load_encoder(swin, pretrained)


@pytest.mark.parametrize('name', ['', None])
def test_a_checkpoint_that_is_not_named(name):
    with pytest.raises(ValueError, match='init_cfg.checkpoint=FILE'):
        build(name)


def test_a_log_in_a_checkpoint_leaves_ours_alone(tmp_path):
    """A HistoryBuffer shares its methods with all others."""
    log = HistoryBuffer([1., 3.], [1, 1])
    path = str(tmp_path / 'run.pth')
    torch.save(dict(state_dict=vit().state_dict(),
                    message_hub=dict(log_scalars=dict(loss=log))), path)
    read_state_dict(path)
    for name in ('mean', 'min', 'max', 'current'):
        assert HistoryBuffer([1., 3.], [1, 1]).statistics(name) in (1, 2, 3)


class Harm:

    def __reduce__(self):
        return os.mkdir, (str(HARM), )


def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=Harm()), path)
    with pytest.raises(ValueError, match=(
            'cannot read the checkpoint .*evil.pth: it holds the pickled code '
            r'posix.mkdir, and only tensors and plain data are read\.')):
        read_state_dict(str(path))
    assert not HARM.exists()
