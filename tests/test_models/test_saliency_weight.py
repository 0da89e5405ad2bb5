"""Losses that saliency weighs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from tiny_models import COUNTS, SIDE, make_images, make_samples, scatter

from amt_mm.masking import MaskPlan


def model_of(method, arch, **head):
    torch.manual_seed(0)
    neck = dict(
        MAE=dict(type='amt_mm.AMTMAEPretrainDecoder', num_patches=16,
                 patch_size=SIDE, embed_dim=32, decoder_embed_dim=16,
                 decoder_depth=1, decoder_num_heads=2),
        SimMIM=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=32,
                    encoder_stride=SIDE))[method]
    loss = dict(MAE=dict(criterion='L2'),
                SimMIM=dict(criterion='L1', channel=3))[method]
    name = dict(MAE='AMTMAEPretrainHead', SimMIM='AMTSimMIMHead')[method]
    return scatter(MODELS.build(dict(
        type=f'amt_mm.AMT{method}',
        backbone=dict(type=f'amt_mm.AMT{method}ViT', arch=arch, img_size=32,
                      patch_size=SIDE),
        neck=neck,
        head=dict(
            type=f'amt_mm.{name}', patch_size=SIDE,
            loss=dict(type='mmpretrain.PixelReconstructionLoss', **loss),
            **head))))


def weighted_samples(seed=0):
    rng = np.random.default_rng(seed)
    samples = make_samples(COUNTS)
    for sample in samples:
        sample.set_field(rng.random((4, 4), np.float32), 'saliency')
    return samples


def errors_of(method, model, images, plan):
    """Return the loss of each masked patch (B, M), from the pictures."""
    model.head.norm_pix = False
    target = plan.patches(images, plan.ids_masked)
    pred = plan.patches(model.reconstruct(images, plan), plan.ids_masked)
    error = pred - target
    error = error**2 if method == 'MAE' else error.abs()
    return error.flatten(2).mean(2)


@pytest.mark.parametrize('method', ['MAE', 'SimMIM'])
@pytest.mark.parametrize('share', [.25, 1.])
def test_the_loss_of_a_patch_counts_by_its_saliency(method, share,
                                                    tiny_arch):
    model = model_of(method, tiny_arch, saliency_weight=share)
    images, samples = make_images(), weighted_samples()
    plan = MaskPlan.from_data_samples(samples)
    errors = errors_of(method, model, images, plan)
    expected = []
    for error, ids, sample in zip(errors, plan.ids_masked, samples,
                                  strict=True):
        saliency = torch.from_numpy(sample.saliency).flatten()[ids]
        weights = 1 - share + share * saliency / saliency.mean()
        expected.append((weights * error).mean())
    loss = model.loss(images, samples)['loss']
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert abs(loss - errors.mean()) > 1e-4


@pytest.mark.parametrize('method', ['MAE', 'SimMIM'])
def test_uniform_maps_change_nothing(method, tiny_arch):
    images, samples = make_images(), make_samples(COUNTS)
    loss = model_of(method, tiny_arch).loss(images, samples)['loss']
    for value in (0., 3.):
        for sample in samples:
            sample.set_field(np.full((4, 4), value, np.float32), 'saliency')
        model = model_of(method, tiny_arch, saliency_weight=1.)
        torch.testing.assert_close(
            model.loss(images, samples)['loss'], loss)
    # switched off, the maps are not even read
    off = model_of(method, tiny_arch, saliency_weight=0.)
    assert torch.equal(off.loss(images, weighted_samples())['loss'], loss)


@pytest.mark.parametrize('method', ['MAE', 'SimMIM'])
def test_without_saliency_it_is_refused(method, tiny_arch):
    model = model_of(method, tiny_arch, saliency_weight=.5)
    with pytest.raises(ValueError, match='with_saliency=True'):
        model.loss(make_images(), make_samples(COUNTS))


@pytest.mark.parametrize('value', [-.1, 1.5])
@pytest.mark.parametrize('method', ['MAE', 'SimMIM'])
def test_wrong_shares_are_refused(method, value, tiny_arch):
    with pytest.raises(ValueError, match=r'saliency_weight must be in \[0, 1'):
        model_of(method, tiny_arch, saliency_weight=value)
