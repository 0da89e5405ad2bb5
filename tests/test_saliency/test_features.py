"""Saliency from the tokens of a ViT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from amt_mm.saliency.features import (
    FEATURE_METHODS,
    border_contrast,
    token_distance,
    vit_tokens,
)


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


@pytest.mark.parametrize('method', FEATURE_METHODS)
@pytest.mark.parametrize('grid', [(1, 1), (2, 3), (3, 3)])
def test_small_grids(method, grid):
    found = FEATURE_METHODS[method](torch.randn(2, *grid, 4))
    assert found.shape == (2, *grid) and np.isfinite(found).all()
