"""Maps of the tokens of the model in training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from tiny_run import log_of, loss_trace, store_of

from amt_mm.engine.cost import estimate_cost
from amt_mm.engine.sources import FeatureSaliency
from amt_mm.saliency.attention import border_contrast, vit_tokens
from amt_mm.saliency.pixels import weigh_centre


def use_features(cfg, **options):
    cfg.custom_hooks[1] = ConfigDict(
        type='amt_mm.SaliencyUpdateHook', interval=2, begin=1,
        source=dict(type='amt_mm.FeatureSaliency', **options))
    return cfg


def test_run(tiny_cfg, run):
    runner = run(use_features(tiny_cfg(**{
        'train_cfg.max_epochs': 4, 'log_level': 'INFO'})))
    store = store_of(runner)
    assert store.generations == [1, 3]  # as the paper's are refreshed
    maps = np.stack([store.read(index) for index in range(store.num_images)])
    assert maps.std((1, 2)).min() > 0 and maps.std(0)[1:3, 1:3].min() > 0
    assert np.isfinite(loss_trace(runner)).all()
    assert 'saliency updated: epoch 3' in log_of(runner)
    assert runner.model.training


@pytest.fixture
def model(tiny_cfg):
    init_default_scope('mmpretrain')
    cfg = tiny_cfg()
    cfg.model.data_preprocessor = cfg.data_preprocessor
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.train()


def batches_of(images, size):
    return [dict(sample_idx=torch.arange(start, min(start + size,
                                                    len(images))),
                 inputs=images[start:start + size])
            for start in range(0, len(images), size)]


def connected(model, **options):
    source = FeatureSaliency(**options)
    source.setup(SimpleNamespace(model=model, optim_wrapper=None), None,
                   (4, 4))
    return source


@pytest.mark.parametrize('block', [0, -1])
@pytest.mark.parametrize('size', [7, 300])
def test_the_mean_of_each_position_is_taken_away(model, block, size,
                                                 monkeypatch):
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    monkeypatch.setattr('amt_mm.engine.sources.model_saliency.NUM_IMAGES',
                        10)
    num_first = 14 if size == 7 else 20  # whole batches of 10 or more
    source = connected(model, block=block, method='contrast',
                       centre_weight=.5)
    found = list(source.maps(batches_of(images, size)))
    index, maps = map(torch.cat, zip(*found, strict=True))
    assert index.tolist() == list(range(20)) and model.training
    with torch.no_grad():
        model.eval()
        inputs = model.data_preprocessor(dict(
            inputs=images, data_samples=None))['inputs']
        tokens = vit_tokens(model.backbone, inputs, block)
    expected = weigh_centre(
        border_contrast(tokens - tokens[:num_first].mean(0)), .5)
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-4)


def test_images_that_are_alike_have_constant_maps(model):
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    (_, maps), = connected(model).maps(batches_of(images, 4))
    assert (maps == maps[0, 0, 0]).all()


def test_no_images_no_maps(model):
    assert list(connected(model).maps([])) == []


def test_the_plan_counts_the_blocks_that_run(tiny_cfg):
    costs = [estimate_cost(use_features(tiny_cfg(), block=block))
             for block in (0, 1, -1)]
    first, second, last = (plan.saliency_macs for plan in costs)
    assert 0 < first < second == last
    assert list(costs[0].updates) == [1, 3]


@pytest.mark.parametrize('block', [2, -3])
def test_a_block_that_is_not_there_is_refused(model, block):
    with pytest.raises(ValueError, match=(
            rf'block of FeatureSaliency must be .*\[-2, 1\], got {block}')):
        connected(model, block=block)
