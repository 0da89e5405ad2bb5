"""ViTDet against mmpretrain's ViTSAM and plain ViT."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import VisionTransformer, ViTSAM
from mmpretrain.models.utils import LayerNorm2d, resize_pos_embed
from tiny_models import make_images, scatter
from torch import nn

from amt_mm.models import SimpleFPN, ViTDet

SIDE = 8


def _evaluating(model):
    """Scatter and set to eval mode: mmpretrain's ``eval`` returns nothing."""
    scatter(model).eval()
    return model


def _vitdet(arch, size=64, window=3, **kwargs):
    return _evaluating(ViTDet(arch=arch, img_size=size, patch_size=SIDE,
                              window_size=window, **kwargs))


def _plain(arch, size=64, **kwargs):
    options = dict(with_cls_token=False, final_norm=False)
    options.update(kwargs)
    return _evaluating(VisionTransformer(
        arch, size, SIDE, out_type='featmap', **options))


def _zero_rel_pos(model):
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name:
            nn.init.zeros_(parameter)


@pytest.fixture
def arch(tiny_arch):
    return dict(tiny_arch, num_layers=4, global_attn_indexes=[1, 3])


@pytest.mark.parametrize('window, height, width, rel_pos', [
    (0, 64, 64, True), (3, 64, 64, False), (3, 40, 88, True),
    (3, 24, 24, True), (8, 64, 64, True), (8, 40, 88, False)])
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


@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize('size', [(64, 64), (48, 80)])
def test_position_embedding_is_resized(tiny_arch, cls_token, size):
    plain = _plain(tiny_arch, 32, with_cls_token=cls_token)
    vitdet = _vitdet(tiny_arch, size)
    missing, left = vitdet.load_state_dict(plain.state_dict(), strict=False)
    assert set(left) == ({'cls_token'} if cls_token else set())
    assert all('rel_pos_' in key for key in missing)
    grid = size[0] // SIDE, size[1] // SIDE
    expected = resize_pos_embed(
        plain.pos_embed, (4, 4), grid, num_extra_tokens=int(cls_token))
    torch.testing.assert_close(
        vitdet.pos_embed.flatten(1, 2), expected[:, int(cls_token):])


def test_grid_that_cannot_be_known_is_refused(tiny_arch):
    plain = VisionTransformer(tiny_arch, (24, 40), SIDE)
    message = r'pos_embed of 16 tokens .* nor of the grid \(8, 8\)'
    with pytest.raises(ValueError, match=message):
        _vitdet(tiny_arch).load_state_dict(plain.state_dict(), strict=False)
    _vitdet(tiny_arch, (24, 40)).load_state_dict(
        plain.state_dict(), strict=False)


@pytest.mark.parametrize('name, depth, expected', [
    ('deit-tiny', 12, [2, 5, 8, 11]), ('deit-small', 12, [2, 5, 8, 11]),
    ('base', 12, [2, 5, 8, 11]), ('large', 24, [5, 11, 17, 23]),
    ('huge', 32, [7, 15, 23, 31]), ('small', 8, [1, 3, 5, 7]),
    (1, 1, [0]), (3, 3, [0, 1, 2]), (5, 5, [1, 2, 3, 4]),
    (6, 6, [1, 2, 4, 5])])
def test_global_blocks(tiny_arch, name, depth, expected):
    arch = dict(tiny_arch, num_layers=name) if isinstance(name, int) else name
    with torch.device('meta'):
        model = MODELS.build(
            dict(type='amt_mm.ViTDet', arch=arch, img_size=224))
    assert len(model.layers) == depth
    assert [i for i, layer in enumerate(model.layers)
            if not layer.window_size] == expected
    plain = VisionTransformer.arch_zoo.get(name, tiny_arch)
    assert model.embed_dims == plain['embed_dims']


def test_drop_path_drops_both_branches(tiny_arch):
    """At rate 1 a block is the identity, its attention included."""
    arch = dict(tiny_arch, num_layers=2)
    model = _vitdet(arch, drop_path_rate=1 - 1e-7)
    model.train()
    first = model.layers[0]
    x = torch.randn(2, 8, 8, 32)
    assert not torch.equal(first(x), x)
    assert torch.equal(model.layers[1](x), x)


# ---- the pyramid


@pytest.mark.parametrize('height, width', [(8, 8), (6, 10)])
def test_levels_of_the_pyramid(height, width):
    neck = MODELS.build(dict(type='amt_mm.SimpleFPN', in_channels=32,
                             out_channels=16))
    outs = neck((torch.randn(2, 32, height, width), ))
    assert [tuple(out.shape) for out in outs] == [
        (2, 16, 4 * height, 4 * width), (2, 16, 2 * height, 2 * width),
        (2, 16, height, width), (2, 16, height // 2, width // 2),
        (2, 16, (height // 2 + 1) // 2, (width // 2 + 1) // 2)]
    torch.testing.assert_close(outs[4], outs[3][:, :, ::2, ::2])
    for out in outs:  # normalised, without an activation
        torch.testing.assert_close(
            out.mean(1), torch.zeros_like(out.mean(1)), rtol=0, atol=1e-5)
        assert out.min() < 0
    sum((out**3).sum() for out in outs).backward()
    assert all(p.grad.abs().sum() > 0 for p in neck.parameters())
    # two norms a level, and one between the two deconvolutions
    norms = [m for m in neck.modules() if isinstance(m, LayerNorm2d)]
    convs = [m for m in neck.modules() if isinstance(m, nn.Conv2d)]
    assert len(norms) == 9 and all(conv.bias is None for conv in convs)
    assert [conv.kernel_size[0] for conv in convs] == [1, 3] * 4


def test_other_pyramids():
    image_map = torch.randn(1, 32, 4, 4)
    assert len(SimpleFPN(32, 16, num_outs=4)((image_map, ))) == 4
    with pytest.raises(ValueError, match='num_outs must be .* 4, got 3'):
        SimpleFPN(in_channels=32, num_outs=3)
    with pytest.raises(ValueError, match='one feature map, got 2'):
        SimpleFPN(in_channels=32)((image_map, image_map))
