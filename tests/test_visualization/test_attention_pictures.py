"""Attention, head by head, and pictures of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.models import VisionTransformer

from amt_mm.saliency.attention import vit_saliency
from amt_mm.visualization import (
    cls_attention_maps,
    draw_attention,
    draw_heads,
    effective_num_patches,
)

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)


def test_each_head_is_that_of_the_softmax():
    torch.manual_seed(0)
    vit = VisionTransformer(ARCH, img_size=(32, 48), patch_size=8)
    vit.train()
    inputs = torch.randn(2, 3, 32, 48)
    kept = {}

    def keep(module, arguments):
        kept['x'] = arguments[0]

    vit.layers[-1].attn.register_forward_pre_hook(keep)
    found = cls_attention_maps(vit, inputs)
    assert vit.training
    assert found.shape == (2, 3, 4, 6)
    vit.eval()
    vit(inputs)
    attn = vit.layers[-1].attn
    q, k, _ = attn.qkv(kept['x']).unflatten(-1, (3, 3, 8)).permute(
        2, 0, 3, 1, 4)
    expected = (q @ k.transpose(-1, -2) * 8**-.5).softmax(-1)[:, :, 0, 1:]
    np.testing.assert_allclose(
        found.reshape(2, 3, 24), expected.detach(), atol=1e-6)
    mean = found.mean(1)
    low, high = mean.min((1, 2))[:, None, None], mean.max(
        (1, 2))[:, None, None]
    with torch.no_grad():
        np.testing.assert_allclose(
            vit_saliency(vit, inputs), (mean - low) / (high - low), atol=1e-5)


def test_the_effective_number_of_patches():
    maps = np.zeros((3, 4, 6))
    maps[0] = 7.
    maps[1, 2, 3] = .1
    maps[2, 0, :2] = 1.
    np.testing.assert_allclose(
        effective_num_patches(maps), [24, 1, 2], rtol=1e-5)


@pytest.mark.parametrize('shape', [(50, 200), (200, 50), (64, 64), (9, 9)])
def test_images_of_any_shape(shape):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8)] * 2
    attention = rng.random((2, 3, 4, 6))
    sheet = draw_heads(images, attention)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[1] > 5 * 50
    fewer = draw_attention(images, dict(one=attention[:, 0]))
    assert fewer.shape[1] <= sheet.shape[1]
    assert fewer.shape[0] == sheet.shape[0]
    # the brightest cell is where the attention is greatest
    attention[0, 0] = 0
    attention[0, 0, 3, 5] = 1
    spot = draw_attention(images[:1], dict(one=attention[:1, 0]))
    plain = draw_attention(images[:1], dict(one=attention[:1, 0] * 0))
    rows, columns = np.nonzero((spot != plain).any(2))
    assert len(rows) and rows.min() > sheet.shape[0] * .1
    assert columns.min() > 100  # in the second column
