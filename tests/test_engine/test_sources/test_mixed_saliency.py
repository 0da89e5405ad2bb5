"""Products and mixtures of sources."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_run import (
    NUM_IMAGES,
    WORKERS,
    loss_trace,
    store_of,
    use_source,
)

from amt_mm.engine.cost import estimate_cost
from amt_mm.engine.sources import CentreSaliency, RandomSaliency
from amt_mm.registry import SALIENCY_SOURCES

CENTRE = dict(type='amt_mm.CentreSaliency')
NOISE = dict(type='amt_mm.RandomSaliency')
PIXELS = dict(type='amt_mm.PixelSaliency')
FEATURES = dict(type='amt_mm.FeatureSaliency')
FADING = dict(type='amt_mm.LinearSchedule', start=1., end=0., until=4)
RISING = dict(FADING, start=0., end=1.)


def mixed(*sources, **options):
    return SALIENCY_SOURCES.build(dict(
        type='amt_mm.MixedSaliency', sources=list(sources), **options))


def maps_of(source, epoch=0, grid=(4, 6)):
    source.setup(SimpleNamespace(epoch=epoch), None, grid)
    image = np.zeros((32, 48, 3), np.uint8)
    inputs = source.prepare(dict(img=image))
    if isinstance(inputs, list):
        inputs = [torch.stack([part] * 3) for part in inputs]
    (index, maps), = source.maps([
        dict(sample_idx=torch.arange(3), inputs=inputs)])
    assert index.tolist() == [0, 1, 2]
    return maps / maps.amax((1, 2), keepdim=True)


@pytest.mark.parametrize('combine', ['product', 'mixture'])
def test_maps_are_combined_by_their_weights(combine):
    centre, noise = maps_of(CentreSaliency()), maps_of(RandomSaliency())
    source = mixed(CENTRE, NOISE, weights=[2., .5], combine=combine)
    expected = centre**2 * noise**.5 if combine == 'product' else (
        2 * centre + .5 * noise) / 2.5
    expected /= expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(maps_of(source), expected)
    assert source.is_static


def test_weights_follow_a_schedule():
    source = mixed(CENTRE, NOISE, weights=[FADING, RISING],
                   combine='mixture')
    assert not source.is_static
    centre, noise = maps_of(CentreSaliency()), maps_of(RandomSaliency())
    torch.testing.assert_close(maps_of(source, 0), centre)
    torch.testing.assert_close(maps_of(source, 4), noise)
    middle = maps_of(source, 2)
    expected = centre + noise
    torch.testing.assert_close(
        middle, expected / expected.amax((1, 2), keepdim=True))


def test_pixels_first_and_features_later(tiny_cfg, run):
    """Each source prepares its own inputs, in workers."""
    def use(source, name, **options):
        return run(use_source(tiny_cfg(name, **options), source,
                              interval=2, begin=0, keep=9))

    runner = use(
        dict(type='amt_mm.MixedSaliency', sources=[PIXELS, FEATURES],
             weights=[FADING, RISING], combine='mixture'), 'mixed', **WORKERS,
        **{'train_dataloader.multiprocessing_context': 'forkserver'})
    store = store_of(runner)
    assert store.generations == [0, 2, 4]
    assert np.isfinite(loss_trace(runner)).all() and runner.model.training
    first, *_, last = (_maps(store, n) for n in store.generations)
    pixels = _maps(store_of(use(
        PIXELS, 'pixels', **{'train_cfg.max_epochs': 1})), 0)
    np.testing.assert_allclose(
        first, pixels / pixels.max((1, 2), keepdims=True), atol=2e-3)
    assert np.abs(last - first).max() > .1


def _maps(store, generation):
    store.activate(generation)
    return np.stack([store.read(index).astype(np.float32)
                     for index in range(NUM_IMAGES)])


def test_the_plan_counts_each_source(tiny_cfg):
    def plan(**source):
        return estimate_cost(
            use_source(tiny_cfg(), source, interval=2, begin=0))

    first, last = (plan(**FEATURES, block=block) for block in (0, -1))
    both, none = (plan(type='amt_mm.MixedSaliency', sources=[PIXELS, other])
                  for other in (FEATURES, CENTRE))
    assert 0 < first.saliency_macs < last.saliency_macs
    assert both.saliency_macs == last.saliency_macs
    assert list(both.updates) == [0, 2, 4]
    assert none.saliency_macs == 0 and list(none.updates) == [0]
    assert '(0-based): 0; 0 GMACs an image' in str(none)
    assert 'warm-up' not in str(none)


@pytest.mark.parametrize('options, error, message', [
    (dict(sources=[CENTRE]), ValueError, 'sources must be two .* or more'),
    (dict(sources=CENTRE), ValueError, 'sources must be two configs or more'),
    (dict(sources=[CENTRE, dict(type='amt_mm.None')]), KeyError,
     'source must be one of'),
    (dict(sources=[FEATURES, dict(type='amt_mm.ModelSaliency')]), ValueError,
     r"at most one .*\['FeatureSaliency', 'ModelSaliency'\]"),
    (dict(sources=[CENTRE, NOISE], weights=[1.]), ValueError,
     r'weights must be 2, one for each .* got \[1.0\]'),
    (dict(sources=[CENTRE, NOISE], weights=[1., -1.]), ValueError,
     r'weights must be in \[0, inf\), got -1'),
    (dict(sources=[CENTRE, NOISE], weights=[1., dict(FADING, end=-1.)]),
     ValueError, r'weights must be in \[0, inf\), got -1'),
    (dict(sources=[CENTRE, NOISE], combine='sum'), ValueError,
     r"combine must be one of \['product', 'mixture'\], got 'sum'"),
])
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SALIENCY_SOURCES.build(dict(type='amt_mm.MixedSaliency', **options))
