"""Maps of the pixels, and those to compare with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import (
    NUM_IMAGES,
    WORKERS,
    log_of,
    loss_trace,
    store_of,
    use_source,
)

from amt_mm.datasets import ImageFolder
from amt_mm.engine.sources import (
    BoxSaliency,
    CentreSaliency,
    PixelSaliency,
    RandomSaliency,
)
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency import pixel_saliency

PIXELS = dict(type='amt_mm.PixelSaliency')


def test_run(tiny_cfg, run, images):
    """In workers of a fork server: with others, in test_mixed_saliency.py."""
    runner = run(use_source(tiny_cfg(**WORKERS, **{
        'log_level': 'INFO', 'train_cfg.max_epochs': 2}), PIXELS))
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
        cfg = tiny_cfg(f'run{weight}', randomness=dict(seed=0),
                       **{'train_cfg.max_epochs': 1,
                          'train_dataloader.dataset.indices': 8})
        generator = cfg.train_dataloader.dataset.pipeline[4]
        generator.update(mask_ratio=.75, throw_ratio=0.,
                         ordering=dict(type='amt_mm.RandomOrdering'))
        if weight is None:
            del cfg.custom_hooks[1:3]
        else:
            cfg.model.head.saliency_weight = weight
            generator.update(with_saliency=True)
            use_source(cfg, PIXELS)
        traces.append(loss_trace(run(cfg)))
    # the same masks; the loss differs where it is weighted
    assert traces[0].tolist() == traces[2].tolist()
    assert np.abs(traces[0] - traces[1]).max() > 1e-4


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


# ---- controls


def maps_of(source, dataset, grid=(4, 6), number=3):
    source.setup(None, dataset, grid)
    batch = dict(sample_idx=torch.arange(number))
    (index, maps), = source.maps([batch])
    assert index.tolist() == list(range(number))
    assert maps.shape == (number, *grid)
    return maps


def test_the_centre_is_that_of_the_map():
    maps = maps_of(CentreSaliency(), None, (5, 7))
    assert (maps == maps[0]).all()
    assert np.unravel_index(maps[0].argmax(), (5, 7)) == (2, 3)


def test_noise_stays_and_differs_by_image_and_seed():
    maps = maps_of(RandomSaliency(), None)
    assert torch.equal(maps, maps_of(RandomSaliency(), None))
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps, maps_of(RandomSaliency(1), None))
    assert maps.min() >= 0 and maps.max() < 1


@pytest.fixture
def photos(tmp_path):
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (60, 40)).save(tmp_path / name)
    (tmp_path / 'boxes.txt').write_text('a.png 10 0 25 20\n')
    return ImageFolder(str(tmp_path))


def test_boxes_count_as_far_as_they_reach(photos, tmp_path):
    source = BoxSaliency(str(tmp_path / 'boxes.txt'), outside=.2)
    boxed, without = maps_of(source, photos, (4, 6), 2)
    expected = torch.full((4, 6), .2)
    expected[:2, 1] = 1.
    expected[:2, 2] = .6  # half of the token
    torch.testing.assert_close(boxed, expected)
    assert (without == 1).all()


def test_boxes_of_other_images_are_refused(photos, tmp_path):
    (tmp_path / 'list.txt').write_text('b.png')
    others = ImageFolder(str(tmp_path), ann_file=str(tmp_path / 'list.txt'))
    with pytest.raises(ValueError, match=r'boxes of .*b.png'):
        maps_of(BoxSaliency(str(tmp_path / 'boxes.txt')), others, number=1)
