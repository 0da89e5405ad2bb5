"""Initial weights of every encoder and decoder."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

ARCH = dict(
    embed_dims=32, num_layers=1, num_heads=4, feedforward_channels=64)
VIT = dict(arch=ARCH, img_size=(16, 32), patch_size=8)
BACKBONES = dict(
    AMTMAEViT=VIT,
    AMTSimMIMViT=VIT,
    AMTMaskFeatViT=VIT,
    AMTBEiTPretrainViT=dict(VIT, use_shared_rel_pos_bias=True),
    ViTDet=dict(VIT, window_size=2))
NECKS = dict(
    AMTMAEPretrainDecoder=dict(
        num_patches=(2, 4), patch_size=8, embed_dim=32, decoder_embed_dim=16,
        decoder_depth=1, decoder_num_heads=2),
    AMTCrossDecoder=dict(
        num_patches=(2, 4), patch_size=8, embed_dim=32, decoder_embed_dim=16,
        decoder_depth=1, decoder_num_heads=2, inter_block=True,
        encoder_depth=3),
    AMTSimMIMLinearDecoder=dict(in_channels=32, encoder_stride=8),
    SimpleFPN=dict(in_channels=32, out_channels=8))


def initialised(name, options):
    """Build a module at seed 3 and initialise it."""
    init_default_scope('mmpretrain')
    torch.manual_seed(3)
    module = MODELS.build(dict(type=f'amt_mm.{name}', **options))
    module.init_weights()
    return module


def test_initial_weights(golden):
    golden('weights', {
        name: {
            key: [*value.shape, value.double().sum().item(),
                  value.double().norm().item()]
            for key, value in initialised(name, options).state_dict().items()}
        for name, options in {**BACKBONES, **NECKS}.items()})


@pytest.mark.parametrize('name', sorted(BACKBONES))
def test_weights_of_a_file(name, tmp_path):
    path = str(tmp_path / 'encoder.pth')
    torch.manual_seed(1)
    expected = {
        key: value + 0.2 * torch.randn_like(value)
        if value.is_floating_point() else value
        for key, value in initialised(
            name, BACKBONES[name]).state_dict().items()}
    torch.save(dict(state_dict=expected), path)
    found = initialised(name, dict(BACKBONES[name], init_cfg=dict(
        type='Pretrained', checkpoint=path))).state_dict()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
