"""Other patches and channels, on request; out to other libraries and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from timm.models import adapt_input_conv
from tiny_checkpoints import (
    ARCH,
    SIDE,
    build,
    mae_config,
    make_images,
    save,
    simmim_config,
    size_of,
    vit,
)

from amt_mm.weights import load_encoder
from amt_mm.weights.export import (
    open_checkpoint,
    to_hf,
    to_mmpretrain,
    to_safetensors,
    to_timm,
)
from amt_mm.weights.grid import adapt_channels, resize_patches


@pytest.mark.parametrize('size', [(8, 8), (6, 10), (4, 4), (3, 2)])
def test_patches_by_the_pseudo_inverse(size):
    """Larger ones give what the old ones gave; smaller ones come closest."""
    torch.manual_seed(0)
    weight, patches = torch.randn(5, 3, 4, 4), torch.randn(7, 3, 4, 4)
    resized = resize_patches(weight, size)
    assert resized.shape == (5, 3, *size)
    # what resizing takes from what the weights tell apart, by FlexiViT's Eq. 3
    seen = F.interpolate(patches, size, mode='bilinear')
    error = F.conv2d(patches, weight) - F.conv2d(seen, resized)
    if min(size) >= 4:
        assert error.abs().max() < 1e-4
        return
    pixels = torch.eye(16).reshape(16, 1, 4, 4)
    matrix = F.interpolate(pixels, size, mode='bilinear').flatten(1)
    lost = weight.flatten(2) - resized.flatten(2) @ matrix.T
    assert (lost @ matrix).abs().max() < 1e-5 and lost.abs().max() > .1


@pytest.mark.parametrize('number', [1, 2, 4, 13])
def test_channels_as_timm_has_them(number):
    weight = torch.randn(5, 3, 4, 4)
    found = adapt_channels(weight, number)
    torch.testing.assert_close(found, adapt_input_conv(number, weight.clone()))


def built(path: str, **options: Any) -> Any:
    """Build a backbone as a config with an init_cfg does."""
    init = dict(type='Pretrained', _scope_='amt_mm', checkpoint=path)
    init.update(options.pop('init', {}))
    backbone = MODELS.build(dict(dict(
        type='mmpretrain.VisionTransformer', arch=ARCH, img_size=32,
        patch_size=SIDE, out_type='raw', init_cfg=init), **options))
    backbone.init_weights()
    backbone.eval()  # mmpretrain's returns None
    return backbone


@torch.no_grad()
def test_on_request(tmp_path):
    """Twice the patch on twice the image gives the same features."""
    path = save(build(mae_config()), tmp_path / 'run.pth', mae_config())
    large = built(path, init=dict(adapt=['patch_size', 'in_channels']),
                  img_size=64, patch_size=2 * SIDE, in_channels=1)
    gray = make_images()[:, :1]
    expected = built(path)(gray.expand(-1, 3, -1, -1))[-1]
    patches = F.unfold(gray, SIDE, stride=SIDE)
    patches = patches.transpose(1, 2).reshape(-1, 1, SIDE, SIDE)
    doubled = F.interpolate(patches, scale_factor=2, mode='bilinear')
    doubled = doubled.reshape(2, 4, 4, 16, 16).transpose(2, 3).reshape(
        2, 1, 64, 64)
    assert (large(doubled)[-1] - expected).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r'adapt must be one of .*width'):
        built(path, init=dict(adapt='width'))


def test_the_report_says_it(tmp_path):
    """The positions follow."""
    path = save(build(mae_config()), tmp_path / 'run.pth', mae_config())
    report = load_encoder(
        vit(patch_size=4, in_channels=1), path,
        adapt=['patch_size', 'in_channels'])
    assert ('patch_embed.projection.weight channels 3 -> 1, patches 8 x 8 -> '
            '4 x 4,') in report
    assert 'grid 4 x 4 -> 8 x 8' in report


# ---- round trips


@pytest.mark.parametrize('config', [simmim_config(), mae_config((24, 40))])
@pytest.mark.parametrize('target', [
    to_timm, to_hf, to_mmpretrain, to_safetensors])
@torch.no_grad()
def test_out_and_back(config, target, tmp_path):
    path = save(build(config), tmp_path / 'run.pth', config)
    ending = dict(to_hf='', to_mmpretrain='.pth').get(
        target.__name__, '.safetensors')
    out = tmp_path / f'out{ending}'
    target(open_checkpoint(path), out,
           **dict(encoder_only=True) if target is to_hf else {})
    size = size_of(config)
    images = make_images(*size)
    before, after = (built(name, img_size=size)(images)[-1]
                     for name in (path, str(out)))
    assert (after - before).abs().max() == 0.
    assert before.std() > .5
