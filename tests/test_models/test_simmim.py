"""AMTSimMIM against SimMIM written out over whole images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.models import (
    BEiTPretrainViT,
    SimMIMHead,
    SimMIMLinearDecoder,
)
from tiny_models import (
    ARCH,
    COUNTS,
    SIDE,
    assert_same_step,
    beit_config,
    build,
    grid_of,
    make_images,
    make_samples,
    simmim_config,
)
from torch import nn

from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.masking import MASKED, THROWN, MaskPlan, TokenCounts
from amt_mm.models import AMTSimMIMViT

STOCK = TokenCounts(9, 0, 7)
LOSS = simmim_config()['head']['loss']
sizes = pytest.mark.parametrize('size', [32, (32, 48)])


def flags_of(samples):
    return torch.from_numpy(np.stack([s.mask_plan for s in samples]))


def whole_tokens(vit, images, mask):
    """SimMIM over whole images: all patches are embedded, some replaced."""
    x = vit.patch_embed(images)[0]
    w = mask.flatten(1)[..., None].float()
    x = x * (1 - w) + vit.mask_token * w
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
    return x if vit.pos_embed is None else x + vit.pos_embed


def whole_loss(model, images, mask, tokens):
    """mmpretrain's own decoder and head on a feature map of all tokens."""
    neck = SimMIMLinearDecoder(32, SIDE)
    neck.decoder = nn.Sequential(model.neck.decoder[0],
                                 nn.PixelShuffle(SIDE))
    feature_map = tokens[:, 1:].transpose(1, 2).unflatten(2, mask.shape[1:])
    return SimMIMHead(SIDE, LOSS).loss(neck(feature_map), images, mask)


def grid_order(latent, plan):
    """Put the tokens back to their places; thrown ones stay zero."""
    tokens = latent.new_zeros(len(latent), 1 + plan.num_tokens, 32)
    rows = torch.arange(len(latent))[:, None]
    ids = torch.cat([plan.ids_visible, plan.ids_masked], 1)
    tokens[rows, ids + 1] = latent[:, 1:]
    tokens[:, 0] = latent[:, 0]
    return tokens


def batch_of(size):
    """Return images, samples of which none is thrown, and the mask."""
    h, w = grid_of(size)
    samples = make_samples(TokenCounts(9, 0, h * w - 9), (h, w))
    mask = (flags_of(samples) == MASKED).float()
    return make_images(h * SIDE, w * SIDE), samples, mask


@sizes
def test_loss_and_gradients_equal_simmim(size, show):
    model = build(simmim_config(size))
    images, samples, mask = batch_of(size)
    loss = model.loss(images, samples)['loss']
    tokens = whole_tokens(model.backbone, images, mask)
    for layer in model.backbone.layers:
        tokens = layer(tokens)
    expected = whole_loss(model, images, mask, model.backbone.norm1(tokens))
    show(f'{size}: {assert_same_step((model, loss), (model, expected))}')


def test_thrown_tokens_equal_a_vit_without_them():
    model, images = build(simmim_config()), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    flags, vit = flags_of(samples), model.backbone
    tokens = whole_tokens(vit, images, flags == MASKED)
    kept = torch.cat([torch.ones(3, 1, dtype=torch.bool),
                      flags.flatten(1) != THROWN], 1)
    expected = torch.zeros(3, 17, 32)
    for i in range(3):
        x = tokens[i, kept[i]][None]
        for layer in vit.layers:
            x = layer(x)
        expected[i, kept[i]] = vit.norm1(x)[0]
    latent = vit(images, plan)
    assert latent.shape == (3, 1 + 4 + 7, 32)
    assert (grid_order(latent, plan) - expected).abs().max() < 1e-5
    # and the loss is that of the whole picture, read at the masked pixels
    loss = model.loss(images, samples)['loss']
    whole = whole_loss(model, images, (flags == MASKED).float(), expected)
    assert abs(loss - whole) < 1e-5


@pytest.mark.parametrize('size, options', [
    (32, {}), ((32, 48), {}), (32, dict(use_abs_pos_emb=True)),
    (32, dict(use_shared_rel_pos_bias=False, use_abs_pos_emb=True))])
def test_positions_equal_beit(size, options, show):
    model = build(beit_config(size, **options))
    beit = BEiTPretrainViT(arch=ARCH, img_size=size, patch_size=SIDE,
                           **options)
    beit.load_state_dict(model.backbone.state_dict())  # strict
    if options.get('use_shared_rel_pos_bias', True):
        assert beit.rel_pos_bias.relative_position_bias_table.std() > 0.1
    images, samples, mask = batch_of(size)
    plan = MaskPlan.from_data_samples(samples)
    expected = beit(images, mask)[0]
    tokens = grid_order(model.backbone(images, plan), plan)
    error = (tokens - expected).abs().max()
    loss = model.loss(images, samples)['loss']
    whole = whole_loss(model, images, mask, expected)
    show(f'BEiT {size} {options}: tokens off by {error:.1e}, loss by '
         f'{abs(loss - whole):.1e}')
    assert error < 1e-5 and abs(loss - whole) < 1e-5


def test_relative_positions_without_thrown_tokens():
    """As if no token could attend to a thrown one."""
    model, images, samples = build(beit_config()), make_images(), make_samples(
        COUNTS)
    plan, flags = MaskPlan.from_data_samples(samples), flags_of(samples)
    vit = model.backbone
    x = whole_tokens(vit, images, flags == MASKED)
    thrown = nn.functional.pad((flags == THROWN).flatten(1), (1, 0))
    bias = vit.rel_pos_bias()[None] - 1e9 * thrown[:, None, None].float()
    for layer in vit.layers:
        x = layer(x, bias)
    tokens = grid_order(vit(images, plan), plan)
    error = (tokens - vit.norm1(x))[~thrown].abs().max()
    assert error < 1e-5


def test_relative_positions_belong_to_a_grid():
    samples = make_samples(TokenCounts(10, 4, 10), (4, 6))
    with pytest.raises(ValueError, match='img_size must be that of the input'):
        build(beit_config()).loss(make_images(32, 48), samples)


@pytest.mark.parametrize('ratios, kept', [
    ((0.60, 0.), 196), ((0.44, 0.26), 144), ((0.33, 0.50), 96)])
def test_kept_tokens_of_the_paper(ratios, kept):
    """Cells of 32 pixels come from the generator alone."""
    generator = AMTMaskGenerator(
        224, 16, *ratios, cell_size=32, rounding='ceil',
        ordering=dict(type='amt_mm.RandomOrdering'))
    plan = MaskPlan.from_flags(generator.transform({})['mask_plan'][None])
    vit = AMTSimMIMViT(arch=ARCH, img_size=224, patch_size=16)
    assert vit(torch.zeros(1, 3, 224, 224), plan).shape == (1, 1 + kept, 32)


# ---- loss and picture


def test_reconstruct_is_the_pixel_shuffle_where_masked():
    model, images = build(simmim_config()), make_images()
    samples = make_samples(STOCK)
    plan = MaskPlan.from_data_samples(samples)
    tokens = grid_order(model.backbone(images, plan), plan)
    feature_map = tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    whole = model.neck.decoder(feature_map)
    mask = (flags_of(samples) == MASKED).repeat_interleave(
        SIDE, 1).repeat_interleave(SIDE, 2)[:, None]
    expected = torch.where(mask, whole, images)
    assert (model.reconstruct(images, plan) - expected).abs().max() < 1e-5
