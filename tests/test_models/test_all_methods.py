"""What holds for every method: MAE, SimMIM with two encoders, MaskFeat."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import MultiheadAttention
from tiny_models import (
    ARCH,
    COUNTS,
    SIDE,
    beit_config,
    build,
    cross_config,
    gradients_of,
    grid_of,
    inter_config,
    mae_config,
    make_images,
    make_samples,
    maskfeat_config,
    perturbed,
    simmim_config,
)
from torch.nn.functional import pad

from amt_mm.masking import MaskPlan, TokenCounts
from amt_mm.models import AMTMAE, AMTMaskFeat
from amt_mm.models.attention import SelfAttention

METHODS = [mae_config, cross_config, inter_config, simmim_config, beit_config,
           maskfeat_config]
every = pytest.mark.parametrize('config', METHODS)
sizes = pytest.mark.parametrize('size', [32, (32, 48), (16, 40)])


def plan_of(samples):
    return MaskPlan.from_data_samples(samples)


def case(config):
    """Return a model and a batch."""
    samples = make_samples(COUNTS)
    return build(config()), make_images(), samples, plan_of(samples)


# ---- shapes


@every
@sizes
def test_shapes_of_the_docstrings(config, size):
    model, grid = build(config(size)), grid_of(size)
    height, width = (side * SIDE for side in grid)
    total = grid[0] * grid[1]
    counts = TokenCounts(total // 2, 2, total - total // 2 - 2)
    images, samples = make_images(height, width), make_samples(counts, grid)
    plan = plan_of(samples)
    tokens = 1 + counts.visible
    if not isinstance(model, AMTMAE):
        tokens += counts.masked
    assert model.backbone(images, plan).shape == (3, tokens, 32)
    width = 108 if isinstance(model, AMTMaskFeat) else 3 * SIDE**2
    assert model.predict(images, plan).shape == (3, counts.masked, width)
    assert model.saliency(images).shape == (3, *grid)
    assert model.extract_feat(images)[-1].shape[0] == 3
    assert torch.isfinite(model.loss(images, samples)['loss'])
    if isinstance(model, AMTMaskFeat):
        assert not hasattr(model, 'reconstruct')
        assert model.target(images, plan).shape == (3, counts.masked, 108)
        assert model.target_generator(images).shape == (3, total, 108)
    else:
        assert model.reconstruct(images, plan).shape == images.shape


@pytest.mark.parametrize('config', [mae_config, inter_config, simmim_config])
def test_another_input_size_than_the_models(config):
    model = build(config())
    samples = make_samples(TokenCounts(10, 4, 10), (4, 6))
    loss = model.loss(make_images(32, 48), samples)['loss']
    assert torch.isfinite(loss)
    assert gradients_of(model, loss)['backbone.cls_token'].any()


# ---- without a plan, and with all visible


@pytest.mark.parametrize('config, norm', [
    (mae_config, dict(norm_cfg=dict(type='LN', eps=1e-6))),
    (simmim_config, {}), (maskfeat_config, {})])
def test_without_a_plan_it_is_a_vision_transformer(config, norm):
    ours = build(config((32, 48))).backbone
    vit = VisionTransformer(arch=ARCH, img_size=(32, 48), patch_size=8,
                            out_type='raw', **norm)
    state = ours.state_dict()
    state.pop('mask_token', None)
    vit.load_state_dict(state)  # strict: all other keys are its own
    for size in ((32, 48), (40, 24)):
        outs, expected = ours(make_images(*size)), vit(make_images(*size))
        assert len(outs) == len(expected) == 1
        assert torch.equal(outs[0], expected[0])


@pytest.mark.parametrize('config, options', [
    (mae_config, {}), (simmim_config, {}), (simmim_config, dict(pre_norm=1)),
    (simmim_config, dict(layer_scale_init_value=0.1)),
    (simmim_config, dict(patch_cfg=dict(norm_cfg=dict(type='LN'))))])
def test_all_visible_is_the_whole_vit(config, options):
    vit = build(config(**options)).backbone
    plan = MaskPlan.from_flags(np.zeros((3, 4, 4), np.int8))
    latent = vit(make_images(), plan)
    assert (latent - vit(make_images())[0]).abs().max() < 1e-5


# ---- what each role may influence


@every
def test_thrown_tokens_influence_nothing(config):
    """Not even if they are NaN, which shows whatever they touch."""
    model, images, samples, plan = case(config)
    changed = torch.full_like(images, np.nan)
    for ids in (plan.ids_visible, plan.ids_masked):
        changed = plan.paste(changed, ids, plan.patches(images, ids))
    assert changed.isnan().sum() == 3 * COUNTS.thrown * 3 * SIDE**2
    assert torch.equal(model.predict(images, plan),
                       model.predict(changed, plan))
    if isinstance(model, AMTMaskFeat):
        # a gradient of the target looks one pixel beyond its patch
        edge = pad(torch.zeros(SIDE - 2, SIDE - 2), (1, 1, 1, 1), value=1)
        changed = torch.where(edge.bool().repeat(4, 4), images,
                              perturbed(images, plan, 'thrown'))
        assert not torch.equal(changed, images)
    loss = model.loss(images, samples)['loss']
    gradients = gradients_of(model, loss)
    again = model.loss(changed, samples)['loss']
    assert torch.equal(loss, again)
    for name, gradient in gradients_of(model, again).items():
        assert torch.equal(gradient, gradients[name]), name


@every
def test_masked_patches_are_seen_by_the_loss_alone(config):
    model, images, samples, plan = case(config)
    changed = perturbed(images, plan, 'masked')
    latent = model.backbone(images, plan)
    assert torch.equal(latent, model.backbone(changed, plan))
    assert torch.equal(model.predict(images, plan),
                       model.predict(changed, plan))
    before, after = (model.loss(x, samples)['loss']
                     for x in (images, changed))
    assert not torch.equal(before, after)
    visible = perturbed(images, plan, 'visible')
    assert not torch.allclose(latent, model.backbone(visible, plan))


@every
def test_images_of_a_batch_do_not_mix(config):
    model, images, samples, _ = case(config)
    losses = [model.loss(images[i:i + 1], samples[i:i + 1])['loss']
              for i in range(3)]
    whole = model.loss(images, samples)['loss']
    assert whole.item() == pytest.approx(sum(losses).item() / 3, abs=1e-5)


@every
def test_gradients_reach_every_trained_parameter(config):
    model = build(config())
    gradients = gradients_of(
        model, model.loss(make_images(), make_samples(COUNTS))['loss'])
    assert gradients.keys() == {
        n for n, p in model.named_parameters() if p.requires_grad}
    fixed = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert fixed == ({'backbone.pos_embed', 'neck.decoder_pos_embed'}
                     if isinstance(model, AMTMAE) else set())
    assert all(g.any() for g in gradients.values())


# ---- the rest


@pytest.mark.parametrize('config, part, options, message', [
    (simmim_config, 'neck', dict(in_channels=16),
     'neck.in_channels must be 32'),
    (simmim_config, 'neck', dict(encoder_stride=16), 'neck.encoder_stride'),
    (simmim_config, 'head', dict(patch_size=4), 'head.patch_size must be 8'),
    (simmim_config, 'backbone', dict(type='mmpretrain.VisionTransformer'),
     'backbone must be of the class KeptTokensViT'),
    (simmim_config, 'backbone', dict(with_cls_token=False),
     'with_cls_token must be True'),
    (beit_config, 'backbone', dict(use_rel_pos_bias=True),
     'use_rel_pos_bias must be False'),
    (maskfeat_config, 'neck', dict(in_channels=16),
     'neck.in_channels must be 32'),
    (maskfeat_config, 'neck', dict(out_channels=27),
     'neck.out_channels must be 108'),
    (maskfeat_config, 'target_generator', dict(
        type='mmpretrain.HOGGenerator'), 'HOGGenerator'),
    (maskfeat_config, 'target_generator', dict(patch_size=16),
     'target_generator.patch_size must be 8'),
    (maskfeat_config, 'target_generator', dict(patch_size=14),
     'patch_size must be a multiple of pool, got 14 by 4')])
def test_wrong_parts_are_refused(config, part, options, message):
    config = config()
    with pytest.raises((ValueError, TypeError), match=message):
        MODELS.build({**config, part: {**config[part], **options}})


@every
def test_mixed_precision(config):
    model, images, samples, _ = case(config)
    exact = model.loss(images, samples)['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(images, samples)['loss']
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)
    assert gradients_of(model, loss)['backbone.cls_token'].any()


@every
def test_attention_is_of_float32_on_a_cpu(config, monkeypatch):
    """Under autocast too: its backward pass in bfloat16 is slow there."""
    genuine, seen = F.scaled_dot_product_attention, []

    def watch(query, key, value, **options):
        seen.append(query.dtype)
        return genuine(query, key, value, **options)

    model, images, samples, _ = case(config)
    monkeypatch.setattr(F, 'scaled_dot_product_attention', watch)
    with torch.autocast('cpu', torch.bfloat16):
        model.loss(images, samples)['loss'].backward()
    # BEiT's blocks have attention of their own
    assert {*seen} == {torch.float32} or config is beit_config


@pytest.mark.parametrize('options', [
    {}, dict(qkv_bias=False), dict(qk_scale=.1),
    dict(layer_scale_init_value=.1), dict(v_shortcut=True, num_heads=1)])
def test_attention_has_the_results_of_mmpretrain(options):
    stock = MultiheadAttention(**{**dict(embed_dims=32, num_heads=4),
                                  **options})
    own = deepcopy(stock)
    SelfAttention.convert(own)
    found = []
    for module in (stock, own):
        tokens = torch.randn(2, 5, 32, generator=torch.manual_seed(0))
        tokens.requires_grad_()
        out = module(tokens)
        out.square().sum().backward()
        found.append([out, tokens.grad, *(
            p.grad for p in module.parameters())])
    assert type(own) is SelfAttention or 'v_shortcut' in options
    for theirs, ours in zip(*found, strict=True):
        assert torch.equal(theirs, ours)


@pytest.mark.compiles
@every
def test_one_graph_for_the_compiler(config):
    torch.compiler.reset()  # the methods share some code
    config = config()
    config['backbone']['drop_path_rate'] = 0.1
    model = build(config).eval()
    images, plan = make_images(), plan_of(make_samples(COUNTS))

    def step(images, visible, masked):
        return model.loss_given_plan(
            images, MaskPlan(visible, masked, (4, 4)))

    compiled = torch.compile(
        step, backend='eager', fullgraph=True)  # a break raises
    args = images, plan.ids_visible, plan.ids_masked
    torch.testing.assert_close(compiled(*args), step(*args))
    if config['type'] == 'amt_mm.AMTMAE':
        with torch.autocast('cpu', torch.bfloat16):
            torch.testing.assert_close(compiled(*args), step(*args))
    model.train()
    compiled(*args).backward()


def test_saliency_reduction_is_chosen_in_the_config():
    config = mae_config()
    one, other = (build(dict(config, head_reduction=name)).saliency(
        make_images()) for name in ('scale_then_mean', 'mean_then_scale'))
    assert not torch.allclose(one, other)
    assert one.min() >= 0 and other.max() <= 1
