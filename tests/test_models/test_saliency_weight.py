"""Losses that saliency weighs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import (
    COUNTS,
    build,
    mae_config,
    make_images,
    make_samples,
    simmim_config,
)

from amt_mm.masking import MaskPlan

CONFIGS = dict(MAE=mae_config, SimMIM=simmim_config)
both = pytest.mark.parametrize('method', CONFIGS)


def model_of(method, **head):
    config = CONFIGS[method]()
    return build(dict(config, head=dict(config['head'], **head)))


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


@both
@pytest.mark.parametrize('share', [.25, 1.])
def test_the_loss_of_a_patch_counts_by_its_saliency(method, share):
    model = model_of(method, saliency_weight=share)
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


@both
def test_uniform_maps_change_nothing(method):
    images, samples = make_images(), make_samples(COUNTS)
    loss = model_of(method).loss(images, samples)['loss']
    for value in (0., 3.):
        for sample in samples:
            sample.set_field(np.full((4, 4), value, np.float32), 'saliency')
        model = model_of(method, saliency_weight=1.)
        torch.testing.assert_close(
            model.loss(images, samples)['loss'], loss)
    # switched off, the maps are not even read
    off = model_of(method, saliency_weight=0.)
    assert torch.equal(off.loss(images, weighted_samples())['loss'], loss)


@both
def test_what_cannot_be_weighed_is_refused(method):
    with pytest.raises(ValueError, match='with_saliency=True'):
        model_of(method, saliency_weight=.5).loss(
            make_images(), make_samples(COUNTS))
    with pytest.raises(ValueError, match=r'saliency_weight must be in \[0, 1'):
        model_of(method, saliency_weight=1.5)
