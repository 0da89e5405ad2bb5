"""How well sources find the objects of images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from amt_mm.datasets import ImageFolder
from amt_mm.engine.source_localization import localize_source
from amt_mm.evaluation import masks_from_boxes, masks_from_folder
from amt_mm.registry import SALIENCY_SOURCES


@pytest.fixture
def squares(tmp_path):
    """Thirty dark images with a bright square each, and their boxes."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    boxes = []
    for i in range(30):
        x, y = rng.integers(8, 32, 2)
        image = rng.integers(0, 30, (64, 64, 3), np.uint8)
        image[y:y + 24, x:x + 24] += 150
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), image)
        boxes.append(f'{i}.png {x} {y} {x + 24} {y + 24}')
    # the last image has no box
    (tmp_path / 'boxes.txt').write_text('\n'.join(boxes[:-1]))
    return tmp_path


def dataset_of(root):
    return ImageFolder(data_root=str(root / 'images'), pipeline=[
        dict(type='amt_mm.SeedSample'),
        dict(type='amt_mm.LoadImage'),
        dict(type='amt_mm.RandomResizedCropWithBox', scale=64),
        dict(type='RandomFlip', prob=0.5),
        dict(type='amt_mm.AMTMaskGenerator', input_size=64, patch_size=8),
    ])


def test_sources_are_ranked(squares):
    truths = masks_from_boxes(squares / 'images', squares / 'boxes.txt')
    found, masked = {}, {}
    for name, options in dict(
            BoxSaliency=dict(ann_file=str(squares / 'boxes.txt')),
            PixelSaliency={}, CentreSaliency={}, RandomSaliency={}).items():
        result, roles = localize_source(
            SALIENCY_SOURCES.build(dict(type=f'amt_mm.{name}', **options)),
            dataset_of(squares), truths,
            num_workers=2 if name == 'PixelSaliency' else 0)
        assert result.num_images == 29
        assert sum(roles.values()) == pytest.approx(1)
        found[name] = result.average_precision.mean
        masked[name] = roles['masked']
    assert found['BoxSaliency'] > .95 and found['PixelSaliency'] > .9
    assert found['CentreSaliency'] == pytest.approx(
        result.centre_average_precision.mean, abs=.01)  # kept in half
    assert found['RandomSaliency'] < found['CentreSaliency'] < .8
    assert masked['PixelSaliency'] > masked['CentreSaliency'] + .2
    assert masked['RandomSaliency'] == pytest.approx(.45, abs=.07)


def test_objects_of_other_images_are_refused(squares):
    with pytest.raises(ValueError, match='masks of some of the 30 images of'):
        localize_source(SALIENCY_SOURCES.build(dict(type='amt_mm.PixelSaliency')),
                        dataset_of(squares), {})


@pytest.mark.parametrize('method', ['rbd', 'geodesic'])
def test_real_objects(unpack, show, method):
    root = unpack('ecssd')
    truths = masks_from_folder(root / 'images', root / 'masks')
    dataset = dataset_of(root).get_subset(list(range(0, 1000, 5)))
    found, roles = localize_source(
        SALIENCY_SOURCES.build(
            dict(type='amt_mm.PixelSaliency', method=method)),
        dataset, truths)
    show(f'{method}: {found}, {roles}')
    assert found.average_precision_gain.mean > .08
