"""AMTMAE against mmpretrain's MAE, and its loss by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from tiny_models import (
    COUNTS,
    SIDE,
    assert_same_step,
    build,
    mae_config,
    make_images,
    make_samples,
    scatter,
)

from amt_mm.masking import MASKED, MaskPlan, TokenCounts
from amt_mm.models.mae import QueryOnlyLayer

STOCK = TokenCounts(12, 0, 4)
norms = pytest.mark.parametrize('norm_pix', [True, False])


def force(model, plan):
    """Let mmpretrain's MAE mask as a plan says."""
    ids_shuffle = torch.cat([plan.ids_visible, plan.ids_masked], 1)

    def masking(x, mask_ratio):
        mask = torch.ones(x.shape[:2])
        mask.scatter_(1, plan.ids_visible, 0)
        ids = plan.ids_visible[..., None].expand(-1, -1, x.shape[-1])
        return x.gather(1, ids), mask, ids_shuffle.argsort(1)

    model.backbone.random_masking = masking


@norms
def test_loss_and_gradients_equal_mae(norm_pix, show):
    ours, theirs = (build(mae_config(norm_pix=norm_pix, ours=flag))
                    for flag in (True, False))
    theirs.load_state_dict(ours.state_dict())
    images, samples = make_images(), make_samples(STOCK)
    force(theirs, MaskPlan.from_data_samples(samples))
    show(f'norm_pix {norm_pix}: ' + assert_same_step(*(
        (m, m.loss(images, samples)['loss']) for m in (ours, theirs))))


def test_same_parameters_and_initial_weights_as_mae():
    models = []
    for flag in (True, False):
        torch.manual_seed(3)
        models.append(MODELS.build(mae_config(ours=flag)))
        torch.manual_seed(4)
        models[-1].init_weights()
    ours, theirs = (model.state_dict() for model in models)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    trained, expected = ([n for n, p in model.named_parameters()
                          if p.requires_grad] for model in models)
    assert trained == expected
    for name in ('backbone.pos_embed', 'backbone.cls_token',
                 'neck.mask_token', 'neck.decoder_pos_embed'):
        assert ours[name].any()


def test_position_embedding_of_a_grid_that_is_not_square():
    wide, square = (MODELS.build(mae_config(size)) for size in ((32, 48), 48))
    for model in (wide, square):
        model.init_weights()
    for name in ('backbone.pos_embed', 'neck.decoder_pos_embed'):
        # the first four rows of the 6 x 6 grid, as positions are absolute
        assert torch.equal(wide.state_dict()[name],
                           square.state_dict()[name][:, :1 + 4 * 6])


@pytest.mark.parametrize('patch_cfg', [
    {}, dict(norm_cfg=dict(type='LN')), dict(bias=False)])
def test_embedding_equals_the_convolution(patch_cfg):
    vit = scatter(MODELS.build(dict(
        mae_config()['backbone'], patch_cfg=patch_cfg)))
    plan = MaskPlan.from_data_samples(make_samples(STOCK))
    whole = vit.patch_embed(make_images())[0]
    expected = whole[torch.arange(3)[:, None], plan.ids_visible]
    error = (vit.embed_visible(make_images(), plan) - expected).abs().max()
    assert error < 1e-5


@pytest.mark.parametrize('number', [1, 5, 9])
@pytest.mark.parametrize('options', [
    {}, dict(qkv_bias=False), dict(layer_scale_init_value=.3)])
def test_last_layer_is_the_whole_layer_at_its_queries(number, options):
    whole = TransformerEncoderLayer(24, 3, 48, **options).double()
    last = copy.deepcopy(whole)
    last.__class__ = QueryOnlyLayer
    x = torch.randn(2, 9, 24, dtype=torch.float64)
    one, two = (x.clone().requires_grad_() for _ in range(2))
    expected, found = whole(one)[:, -number:], last(two, number)
    torch.testing.assert_close(found, expected)
    for y in (expected, found):
        y.square().sum().backward()
    torch.testing.assert_close(two.grad, one.grad)
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(
            last.get_parameter(name).grad, parameter.grad)


# ---- loss and reconstruction by hand


@norms
def test_loss_by_hand(norm_pix):
    model = build(mae_config((32, 48), norm_pix=norm_pix))
    samples = make_samples(TokenCounts(9, 8, 7), (4, 6))
    images = make_images(32, 48)
    plan = MaskPlan.from_data_samples(samples)
    pred = model.neck(model.backbone(images, plan), plan)
    errors = []
    for i, sample in enumerate(samples):
        places = np.argwhere(sample.mask_plan == MASKED)
        for k, (y, x) in enumerate(places * SIDE):
            patch = images[i, :, y:y + SIDE, x:x + SIDE]
            target = patch.permute(1, 2, 0).flatten()
            if norm_pix:
                target = (target - target.mean()) / (
                    target.var() + 1e-6).sqrt()
            errors.append(((pred[i, k] - target)**2).mean())
    assert len(errors) == 27
    assert model.loss(images, samples)['loss'].item() == pytest.approx(
        torch.stack(errors).mean().item(), abs=1e-5)


@norms
def test_perfect_prediction_has_no_loss_and_restores_the_image(norm_pix):
    head = build(mae_config(norm_pix=norm_pix)).head
    images = make_images()
    plan = MaskPlan.from_data_samples(make_samples(COUNTS))
    target = head.construct_target(head.masked_pixels(images, plan))
    assert head.loss(target, images, plan) == 0
    restored = head.reconstruct(target, images, plan)
    assert (restored - images).abs().max() < 1e-5
    assert head.loss(target + 2, images, plan).item() == pytest.approx(4)
