"""AMTMAE against mmpretrain's MAE, and against what the paper demands."""
from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import VisionTransformer
from tiny_models import (
    COUNTS,
    SIDE,
    gradients_of,
    make_images,
    make_samples,
    perturbed,
    scatter,
)
from torch import Tensor, nn

from amt_mm.masking import MASKED, MaskPlan, TokenCounts

STOCK = TokenCounts(12, 0, 4)


def _config(arch: dict, size: int | tuple[int, int] = 32, ours: bool = True,
            norm_pix: bool = True) -> dict:
    h, w = (size, size) if isinstance(size, int) else size
    grid = (h // SIDE, w // SIDE)
    scope, name = ('amt_mm', 'AMTMAE') if ours else ('mmpretrain', 'MAE')
    return dict(
        type=f'{scope}.{name}',
        backbone=dict(type=f'{scope}.{name}ViT', arch=arch, img_size=size,
                      patch_size=SIDE, mask_ratio=0.75),
        neck=dict(
            type=f'{scope}.{name}PretrainDecoder',
            num_patches=grid if ours else grid[0] * grid[1],
            patch_size=SIDE, embed_dim=32, decoder_embed_dim=16,
            decoder_depth=2, decoder_num_heads=2),
        head=dict(
            type=f'{scope}.{name}PretrainHead', norm_pix=norm_pix,
            patch_size=SIDE, loss=dict(
                type='mmpretrain.PixelReconstructionLoss', criterion='L2')))


def _model(*args, **kwargs) -> nn.Module:
    return scatter(MODELS.build(_config(*args, **kwargs)))


def _force(model: nn.Module, plan: MaskPlan) -> None:
    """Let mmpretrain's MAE mask as a plan says."""
    ids_shuffle = torch.cat([plan.ids_visible, plan.ids_masked], 1)

    def masking(x: Tensor, mask_ratio: float) -> tuple[Tensor, ...]:
        mask = torch.ones(x.shape[:2])
        mask.scatter_(1, plan.ids_visible, 0)
        ids = plan.ids_visible[..., None].expand(-1, -1, x.shape[-1])
        return x.gather(1, ids), mask, ids_shuffle.argsort(1)

    model.backbone.random_masking = masking


@pytest.mark.parametrize('norm_pix', [True, False])
def test_loss_and_gradients_equal_mae(norm_pix: bool, tiny_arch: dict,
                                      show) -> None:
    ours = _model(tiny_arch, norm_pix=norm_pix)
    theirs = _model(tiny_arch, norm_pix=norm_pix, ours=False)
    theirs.load_state_dict(ours.state_dict())
    images, samples = make_images(), make_samples(STOCK)
    _force(theirs, MaskPlan.from_data_samples(samples))
    loss, expected = (m.loss(images, samples)['loss'] for m in (ours, theirs))
    assert expected > 0.1
    assert abs(loss - expected) < 1e-5
    gradients, expected_gradients = (
        gradients_of(ours, loss), gradients_of(theirs, expected))
    assert gradients.keys() == expected_gradients.keys()
    errors = {n: (g - expected_gradients[n]).abs().max().item()
              for n, g in gradients.items()}
    largest = max(g.abs().max() for g in expected_gradients.values())
    show(f'norm_pix {norm_pix}: loss {expected:.4f}, off by '
         f'{abs(loss - expected):.1e}; {len(errors)} gradients up to '
         f'{largest:.3f}, off by {max(errors.values()):.1e}')
    assert len(errors) > 40 and largest > 1e-2
    assert max(errors.values()) < 1e-5, errors


def test_same_parameters_as_mae(tiny_arch: dict) -> None:
    ours, theirs = (
        MODELS.build(_config(tiny_arch, ours=flag)) for flag in (True, False))
    assert {n: p.shape for n, p in ours.state_dict().items()} == {
        n: p.shape for n, p in theirs.state_dict().items()}
    assert [n for n, p in ours.named_parameters() if p.requires_grad] == [
        n for n, p in theirs.named_parameters() if p.requires_grad]


def test_same_initial_weights_as_mae(tiny_arch: dict) -> None:
    states = []
    for flag in (True, False):
        torch.manual_seed(3)
        model = MODELS.build(_config(tiny_arch, ours=flag))
        torch.manual_seed(4)
        model.init_weights()
        states.append(model.state_dict())
    for name, ours in states[0].items():
        assert torch.equal(ours, states[1][name]), name
    for name in ('backbone.pos_embed', 'backbone.cls_token',
                 'neck.mask_token', 'neck.decoder_pos_embed'):
        assert states[0][name].any()


def test_position_embedding_of_a_grid_that_is_not_square(
        tiny_arch: dict) -> None:
    wide, square = (MODELS.build(_config(tiny_arch, size))
                    for size in ((32, 48), 48))
    for model in (wide, square):
        model.init_weights()
    for name in ('backbone.pos_embed', 'neck.decoder_pos_embed'):
        # the first four rows of the 6 x 6 grid, as positions are absolute
        assert torch.equal(wide.state_dict()[name],
                           square.state_dict()[name][:, :1 + 4 * 6])


# ---- shapes


@pytest.mark.parametrize('size', [32, (32, 48), (16, 40)])
def test_shapes_of_the_docstrings(size, tiny_arch: dict) -> None:
    model = _model(tiny_arch, size)
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // SIDE, width // SIDE)
    total = grid[0] * grid[1]
    counts = TokenCounts(total // 2, 2, total - total // 2 - 2)
    images = make_images(height, width)
    plan = MaskPlan.from_data_samples(make_samples(counts, grid))
    latent = model.backbone(images, plan)
    assert latent.shape == (3, 1 + counts.visible, 32)
    pred = model.neck(latent, plan)
    assert pred.shape == (3, counts.masked, SIDE * SIDE * 3)
    assert model.saliency(images).shape == (3, *grid)
    assert model.reconstruct(images, plan).shape == images.shape
    assert model.extract_feat(images)[-1].shape == (3, 1 + total, 32)


def test_another_input_size_than_the_models(tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    samples = make_samples(TokenCounts(10, 4, 10), (4, 6))
    loss = model.loss(make_images(32, 48), samples)['loss']
    assert torch.isfinite(loss)
    gradients = gradients_of(model, loss)
    assert gradients['backbone.cls_token'].any()


def test_encoder_equals_the_whole_vit_when_all_is_visible(
        tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    images, flags = make_images(), np.zeros((3, 4, 4), np.int8)
    latent = model.backbone(images, MaskPlan.from_flags(flags))
    assert (latent - model.backbone(images)[-1]).abs().max() < 1e-5


def test_without_a_plan_it_is_a_vision_transformer(tiny_arch: dict) -> None:
    ours = _model(tiny_arch, (32, 48)).backbone
    vit = VisionTransformer(arch=tiny_arch, img_size=(32, 48), patch_size=8,
                            norm_cfg=dict(type='LN', eps=1e-6),
                            out_type='raw')
    vit.load_state_dict(ours.state_dict())  # strict: the same keys
    for size in ((32, 48), (40, 24)):
        outs, expected = ours(make_images(*size)), vit(make_images(*size))
        assert len(outs) == len(expected) == 1
        assert torch.equal(outs[0], expected[0])


def test_embedding_equals_the_convolution(tiny_arch: dict) -> None:
    torch.manual_seed(0)
    config = _config(tiny_arch)['backbone']
    for patch_cfg in ({}, dict(norm_cfg=dict(type='LN')),
                      dict(bias=False)):
        vit = scatter(MODELS.build({**config, 'patch_cfg': patch_cfg}))
        plan = MaskPlan.from_data_samples(make_samples(STOCK))
        whole = vit.patch_embed(make_images())[0]
        rows = torch.arange(3)[:, None]
        error = (vit.embed_visible(make_images(), plan)
                 - whole[rows, plan.ids_visible]).abs().max()
        assert error < 1e-5


# ---- what each role may influence


def test_thrown_tokens_influence_nothing(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    loss = model.loss(images, samples)['loss']
    gradients = gradients_of(model, loss)
    changed = perturbed(images, plan, 'thrown')
    again = model.loss(changed, samples)['loss']
    assert torch.equal(loss, again)
    for name, gradient in gradients_of(model, again).items():
        assert torch.equal(gradient, gradients[name]), name


def test_even_nan_in_thrown_tokens_does_no_harm(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    kept = torch.zeros_like(images) * np.nan
    for ids in (plan.ids_visible, plan.ids_masked):
        kept = plan.paste(kept, ids, plan.patches(images, ids))
    assert kept.isnan().any()
    assert torch.equal(model.loss(kept, samples)['loss'],
                       model.loss(images, samples)['loss'])


def test_masked_patches_are_seen_by_the_loss_alone(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    changed = perturbed(images, plan, 'masked')
    latent = model.backbone(images, plan)
    assert torch.equal(latent, model.backbone(changed, plan))
    assert torch.equal(model.neck(latent, plan),
                       model.neck(model.backbone(changed, plan), plan))
    before, after = (model.loss(x, samples)['loss']
                     for x in (images, changed))
    assert not torch.equal(before, after)
    visible = perturbed(images, plan, 'visible')
    assert not torch.allclose(latent, model.backbone(visible, plan))


def test_images_of_a_batch_do_not_mix(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    losses = [model.loss(images[i:i + 1], samples[i:i + 1])['loss']
              for i in range(3)]
    whole = model.loss(images, samples)['loss']
    assert whole.item() == pytest.approx(sum(losses).item() / 3, abs=1e-5)


# ---- loss and reconstruction by hand


@pytest.mark.parametrize('norm_pix', [True, False])
def test_loss_by_hand(norm_pix: bool, tiny_arch: dict) -> None:
    model = _model(tiny_arch, (32, 48), norm_pix=norm_pix)
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
    loss = model.loss(images, samples)['loss']
    assert loss.item() == pytest.approx(
        torch.stack(errors).mean().item(), abs=1e-5)


@pytest.mark.parametrize('norm_pix', [True, False])
def test_perfect_prediction_has_no_loss_and_restores_the_image(
        norm_pix: bool, tiny_arch: dict) -> None:
    head = _model(tiny_arch, norm_pix=norm_pix).head
    images = make_images()
    plan = MaskPlan.from_data_samples(make_samples(COUNTS))
    target = head.construct_target(head.masked_pixels(images, plan))
    assert head.loss(target, images, plan) == 0
    restored = head.reconstruct(target, images, plan)
    assert (restored - images).abs().max() < 1e-5
    assert head.loss(target + 2, images, plan).item() == pytest.approx(4)


def test_reconstruct_pastes_the_masked_patches_alone(
        tiny_arch: dict) -> None:
    model, images = _model(tiny_arch, norm_pix=False), make_images()
    plan = MaskPlan.from_data_samples(make_samples(COUNTS))
    picture = model.reconstruct(images, plan)
    pred = model.neck(model.backbone(images, plan), plan)
    inside = plan.patches(picture, plan.ids_masked)
    assert torch.equal(
        inside.permute(0, 1, 3, 4, 2).flatten(2), pred)
    outside = plan.paste(picture, plan.ids_masked,
                         plan.patches(images, plan.ids_masked))
    assert torch.equal(outside, images)


# ---- the rest


def test_saliency_reduction_is_chosen_in_the_config(tiny_arch: dict) -> None:
    config = _config(tiny_arch)
    model = scatter(MODELS.build(
        dict(config, head_reduction='scale_then_mean')))
    plain = scatter(MODELS.build(config))
    with torch.no_grad():
        a, b = model.saliency(make_images()), plain.saliency(make_images())
    assert not torch.allclose(a, b)
    assert a.min() >= 0 and b.max() <= 1


def test_gradients_flow_into_every_trained_parameter(
        tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    gradients = gradients_of(
        model, model.loss(make_images(), make_samples(COUNTS))['loss'])
    frozen = {'backbone.pos_embed', 'neck.decoder_pos_embed'}
    assert {n for n, _ in model.named_parameters()} - gradients.keys() == (
        frozen)
    # the bias of the keys cancels in a softmax; all others must learn
    assert all(g.any() for g in gradients.values())


def test_a_copy_is_independent(tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    twin = copy.deepcopy(model)
    samples = make_samples(COUNTS)
    before = model.loss(make_images(), samples)['loss']
    assert torch.equal(before, twin.loss(make_images(), samples)['loss'])
    nn.init.zeros_(twin.neck.decoder_pred.weight)
    assert torch.equal(before, model.loss(make_images(), samples)['loss'])


@pytest.mark.compiles
def test_one_graph_for_the_compiler(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)

    def step(images: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        plan = MaskPlan(visible, masked, (4, 4))
        pred = model.neck(model.backbone(images, plan), plan)
        return model.head.loss(pred, images, plan)

    plan = MaskPlan.from_data_samples(samples)
    compiled: Callable = torch.compile(
        step, backend='eager', fullgraph=True)  # a break raises
    torch.testing.assert_close(
        compiled(images, plan.ids_visible, plan.ids_masked),
        model.loss(images, samples)['loss'])
