"""Images of other numbers of channels than three."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from tiny_models import (
    COUNTS,
    SIDE,
    build,
    mae_config,
    make_samples,
    maskfeat_config,
    simmim_config,
)

NUM_BANDS = 5
BANDS = dict(patch_cfg=dict(in_channels=NUM_BANDS))


def mae():
    config = mae_config(**BANDS)
    config['data_preprocessor'] = dict(
        type='amt_mm.AMTDataPreprocessor', mean=[.1] * NUM_BANDS, std=[.5])
    return config


def simmim(channel=NUM_BANDS):
    config = simmim_config(**BANDS)
    config['head']['loss']['channel'] = channel
    return config


@pytest.mark.parametrize('config', [mae(), simmim(), simmim(None)])
def test_all_channels_are_predicted(config):
    model = build(config)
    images = torch.rand(3, NUM_BANDS, 32, 32)
    samples = make_samples(COUNTS)
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples))
    plan = model.plan_of(data['inputs'], samples)
    pred = model.neck(model.backbone(data['inputs'], plan), plan)
    assert pred.shape == (3, COUNTS.masked, SIDE**2 * NUM_BANDS)
    assert model.loss(data['inputs'], samples)['loss'].isfinite()
    whole = model.reconstruct(data['inputs'], plan)
    changed = (whole != data['inputs']).any(3).any(2).all(0)
    assert changed.all(), 'a channel is as it was'


def test_each_channel_has_its_mean_and_spread():
    means, stds = [0., 1., 2., 3., 4.], [1., 2., 4., 8., 16.]
    normalise = MODELS.build(dict(
        type='amt_mm.AMTDataPreprocessor', mean=means, std=stds))
    images = torch.ones(2, NUM_BANDS, 4, 4)
    found = normalise(dict(inputs=images, data_samples=[]))['inputs']
    assert found[0, :, 0, 0].tolist() == [
        (1 - mean) / std for mean, std in zip(means, stds, strict=True)]


@pytest.mark.parametrize('config, message', [
    (simmim(3), 'head.loss.channel must be 5 to fit backbone.in_channels, go'),
    (maskfeat_config(**BANDS), 'backbone.in_channels must be 3 to fit the HO'),
])
def test_parts_of_other_channels(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


@pytest.mark.parametrize('channels', [1, NUM_BANDS])
def test_a_preprocessor_does_not_take_three_of_them(channels):
    """mmpretrain's would, to swap red and blue."""
    config = mae_config()
    config['data_preprocessor'] = dict(
        type='SelfSupDataPreprocessor', mean=[0.], std=[1.], to_rgb=True,
        _scope_='mmpretrain')
    model = build(config)
    with pytest.raises(ValueError, match=f'in_channels must be {channels} to'):
        model.data_preprocessor(dict(
            inputs=torch.zeros(2, channels, 32, 32), data_samples=[]))
