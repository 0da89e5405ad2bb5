"""The class token's row against the full softmax; tokens of a ViT."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import BEiTViT, VisionTransformer
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from torch import Tensor, nn

from amt_mm.models import AMTMAEViT, AMTMaskFeatViT, AMTSimMIMViT
from amt_mm.saliency import cls_attention, reduce_heads, vit_saliency
from amt_mm.saliency.attention import (
    FEATURE_METHODS,
    HEAD_REDUCTIONS,
    border_contrast,
    token_distance,
    vit_tokens,
)


def _scatter(module, std=0.5):
    """Give all parameters values that make the attention uneven."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    module.eval()
    return module


def full_attention(block, x):
    """softmax(q k^T / sqrt(E)) of all tokens (B, H, 1 + L, 1 + L)."""
    attn = block.attn
    b, n, _ = x.shape
    qkv = attn.qkv(block.ln1(x)).reshape(b, n, 3, attn.num_heads, -1)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4)
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)


@pytest.mark.parametrize('num_heads, qkv_bias', [(1, True), (4, False)])
@torch.no_grad()
def test_row_equals_the_full_softmax(num_heads, qkv_bias):
    block = _scatter(TransformerEncoderLayer(32, num_heads, 64,
                                             qkv_bias=qkv_bias))
    x = torch.randn(3, 1 + 20, 32)
    expected = full_attention(block, x)[:, :, 0, 1:]
    attention = cls_attention(block, x)
    assert attention.shape == (3, num_heads, 20)
    assert attention.dtype == torch.float32
    assert expected.amax() > 3 * expected.mean()  # uneven enough to tell
    assert (attention - expected).abs().max() < 1e-6


# torch before 2.4 has no autocast to float16 on a CPU
@pytest.mark.parametrize('dtype', [
    torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.skipif(
        not hasattr(torch.amp, 'is_autocast_available'), reason='old torch'))])
@torch.no_grad()
def test_row_is_the_same_under_autocast_and_of_half_the_precision(dtype):
    block = _scatter(TransformerEncoderLayer(32, 4, 64, qkv_bias=True))
    x = torch.randn(2, 9, 32)
    with torch.autocast('cpu', dtype):
        mixed = cls_attention(block, x)
    assert torch.equal(mixed, cls_attention(block, x))
    assert mixed.dtype == torch.float32
    # of weights in half the precision, the scores are not rounded once more
    block.to(dtype)
    x = x.to(dtype)
    attention = cls_attention(block, x)
    normed = block.ln1(x).float()
    block.ln1 = nn.Identity()
    assert torch.equal(attention, cls_attention(block.float(), normed))


def _scaled(row_BL):
    low, high = row_BL.amin(1, keepdim=True), row_BL.amax(1, keepdim=True)
    return (row_BL - low) / (high - low)


def _last_block_saliency(vit, images):
    """Take the last block's input out of a full forward pass."""
    seen: list[Tensor] = []
    with vit.layers[-1].register_forward_pre_hook(
            lambda _, args: seen.append(args[0])):
        vit(images, *([None] if isinstance(vit, AMTMaskFeatViT) else []))
    return _scaled(full_attention(
        vit.layers[-1], seen[0])[:, :, 0, 1:].mean(1))


@pytest.mark.parametrize('kind, options', [
    (AMTMAEViT, {}), (AMTSimMIMViT, {}), (AMTMaskFeatViT, {}),
    (VisionTransformer, dict(pre_norm=True, norm_cfg=dict(type='LN'))),
    (VisionTransformer, dict(out_type='featmap')),
    (VisionTransformer, dict(final_norm=False)),
    (VisionTransformer, dict(patch_cfg=dict(norm_cfg=dict(type='LN'))))])
@pytest.mark.parametrize('img_size, size', [
    ((32, 48), (32, 48)), (24, (40, 56))])
@torch.no_grad()
def test_vit_saliency_is_that_of_a_full_forward(kind, options, img_size, size,
                                                tiny_arch):
    vit = _scatter(kind(arch=tiny_arch, img_size=img_size, patch_size=8,
                        **options))
    images = torch.randn(2, 3, *size)
    saliency = vit_saliency(vit, images)
    assert saliency.shape == (2, size[0] // 8, size[1] // 8)
    expected = _last_block_saliency(vit, images).reshape(saliency.shape)
    assert (saliency - expected).abs().max() < 1e-5
    assert saliency.amin((1, 2)).tolist() == [0, 0]
    assert saliency.amax((1, 2)).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize('options', [
    dict(use_shared_rel_pos_bias=True, use_rel_pos_bias=False),
    dict(use_rel_pos_bias=True),
    dict(use_rel_pos_bias=False, use_abs_pos_emb=True),
    dict(use_rel_pos_bias=True, bias=True)])
@torch.no_grad()
def test_relative_positions_are_added(options, tiny_arch):
    """Against the softmax that BEiT's last block itself computes."""
    vit = _scatter(BEiTViT(arch=tiny_arch, img_size=(32, 24), patch_size=8,
                           out_type='raw', **options))
    images = torch.randn(2, 3, 32, 24)
    seen: list[Tensor] = []
    attn = vit.layers[-1].attn
    attn.attn_drop.register_forward_pre_hook(
        lambda _, args: seen.append(args[0]))
    vit(images)
    row = seen[0][:, :, 0, 1:].mean(1)
    expected = _scaled(row).reshape(2, 4, 3)
    assert row.max() > 2 * row.mean()
    assert (vit_saliency(vit, images) - expected).abs().max() < 1e-5


def test_reductions_by_hand():
    attn_BHL = torch.tensor([[[0.1, 0.2, 0.5], [0.3, 0.1, 0.1]]])
    mean = torch.tensor([0.2, 0.15, 0.3])
    torch.testing.assert_close(
        reduce_heads(attn_BHL)[0], (mean - 0.15) / 0.15)
    torch.testing.assert_close(
        reduce_heads(attn_BHL, 'scale_then_mean')[0],
        torch.tensor([(0 + 1) / 2, (0.25 + 0) / 2, (1 + 0) / 2]))
    for reduction in HEAD_REDUCTIONS:
        constant = reduce_heads(torch.full((2, 4, 9), 1 / 9), reduction)
        assert torch.equal(constant, torch.zeros(2, 9))


# ---- tokens


@pytest.mark.parametrize('block', [0, 1, -1, -2])
@pytest.mark.parametrize('kind', ['AMTMAEViT', 'AMTBEiTPretrainViT'])
def test_tokens_are_those_that_leave_the_block(kind, block, tiny_arch):
    vit = MODELS.build(dict(type=f'amt_mm.{kind}', arch=tiny_arch,
                            img_size=(32, 48), patch_size=8))
    vit.init_weights()
    vit.eval()
    seen = []
    vit.layers[block].register_forward_hook(
        lambda module, args, output: seen.append(output))
    images = torch.randn(2, 3, 32, 48)
    vit(images)
    tokens = vit_tokens(vit, images, block)
    assert tokens.shape == (2, 4, 6, 32)
    torch.testing.assert_close(tokens.flatten(1, 2), seen[0][:, 1:])


def planted(grid=(8, 8), width=16):
    """Tokens around one direction, and around another in a rectangle."""
    rng = torch.Generator().manual_seed(0)
    inside = torch.zeros(3, *grid, dtype=torch.bool)
    for number, rows in enumerate(((2, 5), (1, 3), (3, 7))):
        inside[number, slice(*rows), 3:6] = True
    ground, figure = torch.eye(width)[:2]
    tokens = torch.where(inside[..., None], figure, ground)
    noise = torch.randn(tokens.shape, generator=rng)
    return 3 * tokens + .1 * noise, inside


@pytest.mark.parametrize('method', FEATURE_METHODS)
def test_what_differs_from_the_border_stands_out(method):
    for grid in ((1, 1), (2, 3), (3, 3)):
        found = FEATURE_METHODS[method](torch.randn(2, *grid, 4))
        assert found.shape == (2, *grid) and np.isfinite(found).all()
    tokens, inside = planted()
    found = FEATURE_METHODS[method](tokens)
    assert found.shape == (3, 8, 8) and found.dtype == np.float32
    for single, mask in zip(found, inside.numpy(), strict=True):
        assert single[mask].min() > 2 * single[~mask].max()


def test_contrast_is_one_minus_the_nearest_cosines():
    tokens = torch.randn(2, 4, 5, 6,
                         generator=torch.Generator().manual_seed(0))
    flat = (tokens / tokens.norm(dim=-1, keepdim=True)).double().numpy()
    border = [(y, x) for y in range(4) for x in range(5)
              if y in (0, 3) or x in (0, 4)]
    expected = np.zeros((2, 4, 5))
    for b, y, x in np.ndindex(expected.shape):
        cosines = sorted(flat[b, y, x] @ flat[b][place] for place in border)
        expected[b, y, x] = 1 - np.mean(cosines[-5:])
    np.testing.assert_allclose(border_contrast(tokens), expected, atol=1e-6)


def test_distance_adds_up_over_rings():
    """Three rings, each 90 degrees from the next."""
    ring = torch.minimum(torch.arange(6), 5 - torch.arange(6))
    rings = torch.minimum(ring[:, None], ring)
    found = token_distance(torch.eye(3)[rings][None])
    np.testing.assert_allclose(found[0], rings * 2**.5, rtol=1e-5)
