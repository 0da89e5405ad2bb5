"""The decoder of cross-attention, by hand, and a share predicted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from tiny_models import (
    COUNTS,
    build,
    cross_config,
    gradients_of,
    mae_config,
    make_images,
    make_samples,
)
from torch import nn

from amt_mm.masking import MASKED, UNPREDICTED, MaskPlan

either = pytest.mark.parametrize('inter_block', [False, True])


def half_predicted(samples):
    """Mark every second masked token of each sample as not predicted."""
    for sample in samples:
        flags = sample.mask_plan.reshape(-1)
        flags[(flags == MASKED).nonzero()[0][::2]] = UNPREDICTED
    return samples


# ---- by hand


def layer_by_hand(layer, x, memory):
    """The layer by torch's own attention and its own weights."""
    width, attn = layer.embed_dims, layer.attn
    other = nn.MultiheadAttention(
        width, attn.num_heads, kdim=memory.shape[-1], vdim=memory.shape[-1],
        batch_first=True)
    key, value = attn.kv.weight.data.split(width)
    other.load_state_dict({
        'q_proj_weight': attn.q.weight.data, 'k_proj_weight': key,
        'v_proj_weight': value,
        'in_proj_bias': torch.cat([attn.q.bias.data, attn.kv.bias.data]),
        'out_proj.weight': attn.proj.weight.data,
        'out_proj.bias': attn.proj.bias.data})
    normed = F.layer_norm(x, (width, ), layer.ln1.weight, layer.ln1.bias,
                          eps=1e-6)
    x = x + other(normed, memory, memory)[0]
    first, second = layer.ffn.layers[0][0], layer.ffn.layers[1]
    normed = F.layer_norm(x, (width, ), layer.ln2.weight, layer.ln2.bias,
                          eps=1e-6)
    return x + second(F.gelu(first(normed)))


@either
def test_forward_equals_torch_s_own_attention(inter_block):
    model, images = build(cross_config((32, 48), inter_block)), make_images(
        32, 48)
    plan = MaskPlan.from_data_samples(
        make_samples(COUNTS._replace(visible=12), (4, 6)))
    neck, vit = model.neck, model.backbone
    # the encoder block by block
    x = vit.embed_visible(images, plan) + vit.pos_embed[0, 1:][
        plan.ids_visible]
    cls_token = (vit.cls_token + vit.pos_embed[:, :1]).expand(3, -1, -1)
    maps = [torch.cat([cls_token, x], 1)]
    for layer in vit.layers:
        maps.append(layer(maps[-1]))
    maps[-1] = vit.norm1(maps[-1])
    queries = neck.mask_token + neck.decoder_pos_embed[0, 1:][plan.ids_masked]
    for k, layer in enumerate(neck.decoder_blocks):
        memory = maps[-1]
        if inter_block:
            norm = neck.block_norms[k]
            memory = F.layer_norm(
                sum(weight * own for weight, own in zip(
                    neck.block_weights[k], maps, strict=True)), (32, ),
                norm.weight, norm.bias, eps=1e-6)
        queries = layer_by_hand(layer, queries, memory)
    expected = neck.decoder_pred(neck.ln1(queries))
    torch.testing.assert_close(model.predict(images, plan), expected,
                               rtol=1e-4, atol=1e-5)


@either
def test_a_prediction_does_not_depend_on_the_other_queries(inter_block):
    model, images = build(cross_config(inter_block=inter_block)), make_images()
    plan = MaskPlan.from_data_samples(make_samples(COUNTS))
    pred = model.predict(images, plan)
    for kept in ([4], [0, 5], [6, 2, 1]):
        own = MaskPlan(plan.ids_visible, plan.ids_masked[:, kept], plan.grid)
        torch.testing.assert_close(model.predict(images, own), pred[:, kept],
                                   rtol=1e-4, atol=1e-5)
    # of MAE's own decoder it does
    mae = build(mae_config())
    assert not torch.allclose(mae.predict(images, own),
                              mae.predict(images, plan)[:, kept], atol=1e-3)


# ---- a share predicted


def test_loss_of_a_share_is_the_mean_over_it():
    model, images = build(cross_config()), make_images()
    whole = MaskPlan.from_data_samples(make_samples(COUNTS))
    samples = half_predicted(make_samples(COUNTS))
    plan = MaskPlan.from_data_samples(samples)
    assert plan.ids_masked.shape == (3, 3)  # 4 of 7 are not predicted
    pred = model.predict(images, whole)[:, 1::2]
    assert torch.equal(plan.ids_masked, whole.ids_masked[:, 1::2])
    target = model.head.construct_target(
        model.head.masked_pixels(images, whole))[:, 1::2]
    expected = (pred - target).square().mean()
    assert model.loss(images, samples)['loss'].item() == pytest.approx(
        expected.item(), rel=1e-5)


def test_what_is_not_predicted_influences_nothing():
    model, images = build(cross_config()), make_images()
    samples = half_predicted(make_samples(COUNTS))
    shown = torch.from_numpy(samples[0].mask_plan == UNPREDICTED)
    changed = images.clone()
    changed[0] += 100 * shown.repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert (changed != images).sum() == 4 * 8 * 8 * 3
    before, after = (gradients_of(model, model.loss(x, samples)['loss'])
                     for x in (images, changed))
    for name, gradient in before.items():
        assert torch.equal(gradient, after[name]), name


@pytest.mark.parametrize('neck, message', [
    (dict(decoder_depth=0), 'decoder_depth must be an integer >= 1, got 0'),
    (dict(inter_block='yes'), 'inter_block must be True or False'),
    (dict(encoder_depth=3), 'neck.encoder_depth must be 2 to fit num_layers'),
    (dict(embed_dim=16), 'neck.embed_dim must be 32')])
def test_wrong_arguments_are_refused(neck, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MODELS.build(cross_config(**{'inter_block': True, **neck}))
