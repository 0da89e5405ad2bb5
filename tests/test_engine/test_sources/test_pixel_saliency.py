"""Maps of the pixels in a run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict
from tiny_run import NUM_IMAGES, WORKERS, log_of, loss_trace, store_of

from amt_mm.engine.cost import estimate_cost
from amt_mm.engine.sources import PixelSaliency
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency import pixel_saliency


def use_pixels(cfg, **options):
    cfg.custom_hooks[1] = ConfigDict(
        type='amt_mm.SaliencyUpdateHook',
        source=dict(type='amt_mm.PixelSaliency', **options))
    return cfg


def test_run(tiny_cfg, run, images):
    """In workers of a fork server: with others, in test_mixed_saliency.py."""
    cfg = use_pixels(tiny_cfg(**WORKERS, **{
        'log_level': 'INFO', 'train_cfg.max_epochs': 2}))
    runner = run(cfg)
    store = store_of(runner)
    assert store.generations == [0]  # once, before the training
    for index, path in enumerate(sorted(images.rglob('*.jpg'))):
        image = cv2.resize(cv2.imread(str(path)), (32, 32),
                           interpolation=cv2.INTER_AREA)
        expected = pixel_saliency(image, (4, 4))
        # the run resizes otherwise
        assert np.corrcoef(expected.ravel(),
                           store.read(index).ravel())[0, 1] > 0.8
    assert index == NUM_IMAGES - 1
    assert np.isfinite(loss_trace(runner)).all()
    assert 'saliency updated: epoch 0' in log_of(runner)


def test_a_loss_weighted_by_the_maps(tiny_cfg, run):
    traces = []
    for weight in (0., 1., None):
        options = {'train_cfg.max_epochs': 1}
        if weight is not None:
            options['model.head.saliency_weight'] = weight
        cfg = tiny_cfg(f'run{weight}', **options)
        cfg.randomness = dict(seed=0)
        generator = cfg.train_dataloader.dataset.pipeline[4]
        generator.update(mask_ratio=.75, throw_ratio=0.,
                         ordering=dict(type='amt_mm.RandomOrdering'))
        if weight is None:
            del cfg.custom_hooks[1:3]
        else:
            generator.update(with_saliency=True)
            use_pixels(cfg)
        traces.append(loss_trace(run(cfg)))
    # the same masks; the loss differs where it is weighted
    assert traces[0].tolist() == traces[2].tolist()
    assert np.abs(traces[0] - traces[1]).max() > 1e-4


def test_no_multiply_accumulates_of_the_model(tiny_cfg):
    plan = estimate_cost(use_pixels(tiny_cfg()))
    assert plan.saliency_macs == 0 and list(plan.updates) == [0]
    assert '(0-based): 0; 0 GMACs an image' in str(plan)
    assert 'warm-up' not in str(plan)


@pytest.mark.parametrize('options, error, message', [
    (dict(method='mbd'), ValueError, r"method must be one of \['rbd', "
                                     r"'geodesic', 'detail'\], got 'mbd'"),
    (dict(centre_weight=-1), ValueError, r'centre_weight must be in \[0, inf'),
    (dict(centre_weight='1'), TypeError, 'centre_weight must be a number'),
])
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SALIENCY_SOURCES.build(dict(type='amt_mm.PixelSaliency', **options))


def test_methods_differ():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    maps = []
    for method in ('rbd', 'geodesic', 'detail'):
        source = PixelSaliency(method)
        source.setup(None, None, (8, 8))
        maps.append(source.prepare(dict(img=image)).numpy())
        assert maps[-1].shape == (8, 8)
    assert len(np.unique(np.round(maps, 6), axis=0)) == 3
