"""ViTDet against mmpretrain's ViTSAM and plain ViT."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import VisionTransformer, ViTSAM
from mmpretrain.models.utils import resize_pos_embed
from tiny_models import make_images, scatter
from torch import nn

from amt_mm.models import ViTDet

SIDE = 8


def _evaluating(model: nn.Module) -> nn.Module:
    """Scatter and set to eval mode: mmpretrain's ``eval`` returns nothing."""
    scatter(model).eval()
    return model


def _vitdet(arch: dict, size: int | tuple[int, int] = 64, window: int = 3,
            **kwargs) -> ViTDet:
    return _evaluating(ViTDet(arch=arch, img_size=size, patch_size=SIDE,
                              window_size=window, **kwargs))


def _plain(arch: dict, size: int = 64, **kwargs) -> VisionTransformer:
    options = dict(with_cls_token=False, final_norm=False)
    options.update(kwargs)
    return _evaluating(VisionTransformer(
        arch, size, SIDE, out_type='featmap', **options))


def _zero_rel_pos(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name:
            nn.init.zeros_(parameter)


@pytest.fixture
def arch(tiny_arch) -> dict:
    return dict(tiny_arch, num_layers=4, global_attn_indexes=[1, 3])


@pytest.mark.parametrize('window', [0, 3, 8])
@pytest.mark.parametrize('height, width', [(64, 64), (40, 88), (24, 24)])
@pytest.mark.parametrize('rel_pos', [True, False])
def test_equals_vit_sam(arch, window, height, width, rel_pos):
    """The fused attention is upstream's, its gradients too."""
    ours = _vitdet(arch, window=window, use_rel_pos=rel_pos)
    theirs = _evaluating(ViTSAM(arch, 64, SIDE, out_channels=0,
                                window_size=window, use_rel_pos=rel_pos))
    theirs.load_state_dict(ours.state_dict())
    images = make_images(height, width, 2)
    out, expected = ours(images), theirs(images)
    assert out[0].shape == (2, 32, height // SIDE, width // SIDE)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(out[0])
    for feature in (out[0], expected[0]):
        (feature * weight).mean().backward()
    for parameter, other in zip(
            ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(
            parameter.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('window', [0, 8])
def test_equals_plain_vit_when_windows_cover_the_image(tiny_arch, window):
    """With a class token the plain ViT would attend to one token more."""
    vitdet, plain = _vitdet(tiny_arch, window=window), _plain(tiny_arch)
    _zero_rel_pos(vitdet)
    missing, left = vitdet.load_state_dict(plain.state_dict(), strict=False)
    assert missing and all('rel_pos_' in key for key in missing)
    assert not left
    images = make_images(64, 64, 2)
    torch.testing.assert_close(
        vitdet(images), plain(images), rtol=1e-4, atol=1e-4)


def test_windows_matter(tiny_arch):
    arch = dict(tiny_arch, num_layers=4)
    narrow, wide = _vitdet(arch, window=2), _vitdet(arch, window=8)
    images = make_images(64, 64, 1)
    assert not torch.allclose(narrow(images)[0], wide(images)[0], atol=1e-2)


def test_loads_a_plain_checkpoint(tiny_arch):
    """The class token and the last norm stay in the file."""
    plain = _plain(tiny_arch, with_cls_token=True, final_norm=True)
    vitdet = _vitdet(tiny_arch)
    missing, left = vitdet.load_state_dict(plain.state_dict(), strict=False)
    assert set(left) == {'cls_token', 'ln1.weight', 'ln1.bias'}
    assert all('rel_pos_' in key for key in missing)
    torch.testing.assert_close(
        vitdet.pos_embed.flatten(1, 2), plain.pos_embed[:, 1:])


@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize('size', [(64, 64), (48, 80)])
def test_position_embedding_is_resized(tiny_arch, cls_token, size):
    plain = _plain(tiny_arch, 32, with_cls_token=cls_token)
    vitdet = _vitdet(tiny_arch, size)
    vitdet.load_state_dict(plain.state_dict(), strict=False)
    grid = size[0] // SIDE, size[1] // SIDE
    expected = resize_pos_embed(
        plain.pos_embed, (4, 4), grid, num_extra_tokens=int(cls_token))
    torch.testing.assert_close(
        vitdet.pos_embed.flatten(1, 2), expected[:, int(cls_token):])


def test_checkpoint_of_its_own_at_another_size(arch):
    small, large = _vitdet(arch, 32), _vitdet(arch, 64)
    large.load_state_dict(small.state_dict())
    expected = resize_pos_embed(
        small.pos_embed.flatten(1, 2), (4, 4), (8, 8), num_extra_tokens=0)
    torch.testing.assert_close(large.pos_embed.flatten(1, 2), expected)
    assert small.layers[1].attn.rel_pos_h.shape == (7, 8)
    assert large.layers[1].attn.rel_pos_h.shape == (15, 8)


def test_grid_that_cannot_be_known_is_refused(tiny_arch):
    plain = VisionTransformer(tiny_arch, (24, 40), SIDE)
    message = r'pos_embed of 16 tokens .* nor of the grid \(8, 8\)'
    with pytest.raises(ValueError, match=message):
        _vitdet(tiny_arch).load_state_dict(plain.state_dict(), strict=False)
    _vitdet(tiny_arch, (24, 40)).load_state_dict(
        plain.state_dict(), strict=False)


def test_relative_positions_learn_and_start_from_zero(tiny_arch):
    model = ViTDet(arch=tiny_arch, img_size=64, patch_size=SIDE)
    model.init_weights()
    (model(make_images(40, 72, 1))[0]**2).mean().backward()
    tables = {n: p for n, p in model.named_parameters() if 'rel_pos_' in n}
    assert len(tables) == 4
    for table in tables.values():
        assert not table.any() and table.grad.abs().sum() > 0


@pytest.mark.parametrize('name, depth, expected', [
    ('deit-tiny', 12, [2, 5, 8, 11]), ('deit-small', 12, [2, 5, 8, 11]),
    ('base', 12, [2, 5, 8, 11]), ('large', 24, [5, 11, 17, 23]),
    ('huge', 32, [7, 15, 23, 31]), ('small', 8, [1, 3, 5, 7])])
def test_every_plain_arch(name, depth, expected):
    with torch.device('meta'):
        model = ViTDet(arch=name, img_size=224)
    assert len(model.layers) == depth
    assert [i for i, layer in enumerate(model.layers)
            if not layer.window_size] == expected
    plain = VisionTransformer.arch_zoo[name]
    assert model.embed_dims == plain['embed_dims']


@pytest.mark.parametrize('depth, expected', [
    (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (5, [1, 2, 3, 4]),
    (6, [1, 2, 4, 5])])
def test_global_blocks_of_any_depth(tiny_arch, depth, expected):
    model = ViTDet(arch=dict(tiny_arch, num_layers=depth), img_size=64)
    assert list(model.global_attn_indexes) == expected


def test_drop_path_drops_both_branches(tiny_arch):
    """At rate 1 a block is the identity, its attention included."""
    arch = dict(tiny_arch, num_layers=2)
    model = _vitdet(arch, drop_path_rate=1 - 1e-7)
    model.train()
    first = model.layers[0]
    x = torch.randn(2, 8, 8, 32)
    assert not torch.equal(first(x), x)
    assert torch.equal(model.layers[1](x), x)


def test_layer_depth(tiny_arch):
    model = ViTDet(arch=tiny_arch, img_size=64)
    depth = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.')
             for name in ('pos_embed', 'patch_embed.projection.weight',
                          'layers.0.ln1.weight', 'layers.1.attn.qkv.bias',
                          'layers.0.attn.rel_pos_h')}
    assert depth == {
        'pos_embed': (0, 4), 'patch_embed.projection.weight': (0, 4),
        'layers.0.ln1.weight': (1, 4), 'layers.1.attn.qkv.bias': (2, 4),
        'layers.0.attn.rel_pos_h': (1, 4)}
    assert model.get_layer_depth('neck.weight', 'backbone.') == (3, 4)


def test_is_registered(tiny_arch):
    model = MODELS.build(
        dict(type='amt_mm.ViTDet', arch=tiny_arch, img_size=64))
    assert isinstance(model, ViTDet)
