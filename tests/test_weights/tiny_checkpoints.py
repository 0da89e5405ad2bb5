"""Checkpoints of the size of a test, as a run writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import VisionTransformer
from small_configs import mae
from torch import Tensor, nn

ARCH = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=72)
SIDE = 8  # of a patch, in pixels
NORM = dict(mean=[110., 120., 130.], std=[50., 60., 70.], to_rgb=True)


def mae_config(size: int | tuple[int, int] = 32, **backbone: Any) -> dict:
    """Return the config of a whole AMTMAE."""
    h, w = (size, size) if isinstance(size, int) else size
    return mae(
        backbone=dict(arch=ARCH, img_size=size, mask_ratio=0.75, **backbone),
        neck=dict(num_patches=(h // SIDE, w // SIDE), decoder_embed_dim=24,
                  decoder_depth=2, decoder_num_heads=3))


def simmim_config(vit: str = 'AMTSimMIMViT', **backbone: Any) -> dict:
    """Return the config of a whole AMTSimMIM."""
    return dict(
        type='amt_mm.AMTSimMIM',
        backbone=dict(type=f'amt_mm.{vit}', arch=ARCH, img_size=32,
                      patch_size=SIDE, **backbone),
        neck=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=32,
                  encoder_stride=SIDE),
        head=dict(type='amt_mm.AMTSimMIMHead', patch_size=SIDE, loss=dict(
            type='mmpretrain.PixelReconstructionLoss', criterion='L1',
            channel=3)))


def classifier_config(**backbone: Any) -> dict:
    """Return the config of a classifier of mmpretrain."""
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.VisionTransformer', arch=ARCH,
                      img_size=32, patch_size=SIDE, **backbone),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=5,
                  in_channels=32))


def vit(arch: dict = ARCH, **options: Any) -> VisionTransformer:
    """Return mmpretrain's ViT of 32 px, which gives tokens."""
    model = VisionTransformer(arch, **{
        'img_size': 32, 'patch_size': SIDE, 'out_type': 'raw', **options})
    model.eval()  # mmpretrain's returns None
    return model


# whose encoders are plain ViTs
PLAIN = {
    'mae': mae_config(),
    'mae, not square': mae_config((24, 40)),
    'mae, no bias': mae_config(layer_cfgs=dict(qkv_bias=False)),
    'mae, eps': mae_config(norm_cfg=dict(type='LN', eps=1e-2)),
    'simmim': simmim_config(),
    'maskfeat': dict(simmim_config(), backbone=dict(
        type='amt_mm.AMTMaskFeatViT', arch=ARCH, img_size=32,
        patch_size=SIDE)),
    'classifier': classifier_config(),
}


def build(config: dict) -> nn.Module:
    """Build a model whose parameters are all off their start."""
    torch.manual_seed(1)
    # which an earlier test may have set to another
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


def save(model: nn.Module, path: Path, config: dict | None = None) -> str:
    """Write a checkpoint with the config's text in it, or without."""
    meta = {}
    if config:
        meta['cfg'] = Config(
            dict(model=config, data_preprocessor=NORM)).pretty_text
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


def size_of(config: dict) -> tuple[int, int]:
    """Return height and width of the images of a model."""
    size = config['backbone']['img_size']
    return (size, size) if isinstance(size, int) else size


def make_images(height: int = 32, width: int = 32) -> Tensor:
    """Return noise (2, 3, H, W)."""
    return torch.randn(2, 3, height, width,
                       generator=torch.Generator().manual_seed(0))


def expected_features(config: dict, model: nn.Module,
                      images: Tensor) -> Tensor:
    """Return what mmpretrain's own ViT makes of the encoder's weights."""
    options = {k: v for k, v in config['backbone'].items()
               if k not in ('type', 'mask_ratio', 'out_type')}
    vit = MODELS.build({'type': 'mmpretrain.VisionTransformer',
                        'out_type': 'raw', **options})
    vit.eval()  # mmpretrain's returns None
    state = model.backbone.state_dict()
    state.pop('mask_token', None)
    vit.load_state_dict(state)
    return vit(images)[-1]
