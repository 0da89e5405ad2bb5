"""The demo data set: determinism, agreement of its labels, difficulty."""
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from amt_mm.evaluation import measure_localization
from projects.demo.demo_data import MANIFEST, write_demo_data
from projects.demo.demo_scene import draw_scene
from projects.demo.demo_shapes import CLASSES

SIZE = 64
SMALL = dict(num_train=24, num_val=16, image_size=SIZE)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_demo_data(tmp_path_factory.mktemp('demo') / 'data', **SMALL)


@pytest.mark.parametrize('split, number', [('train', 24), ('val', 16)])
def test_images_boxes_masks_and_maps_agree(root, split, number):
    folders = sorted(path.name for path in (root / split).iterdir())
    assert folders == list(CLASSES)
    coco = COCO(root / 'annotations' / f'instances_{split}.json')
    assert [c['name'] for c in coco.dataset['categories']] == folders
    assert len(coco.imgs) == number
    for image_id, image in coco.imgs.items():
        name = Path(image['file_name'])
        assert cv2.imread(str(root / name)).shape == (SIZE, SIZE, 3)
        drawn = np.zeros((SIZE, SIZE), np.uint8)
        annotations = coco.imgToAnns[image_id]
        for annotation in annotations:
            mask = coco.annToMask(annotation)
            assert mask.sum() == annotation['area']
            assert not drawn[mask > 0].any()
            box = mask_utils.toBbox(coco.annToRLE(annotation))
            assert box.tolist() == annotation['bbox']
            drawn[mask > 0] = annotation['category_id']
        stored = cv2.imread(str(root / 'semantic' / name.with_suffix('.png')),
                            cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(drawn, stored)
        areas = [annotation['area'] for annotation in annotations]
        assert areas[0] == max(areas) and 1 <= len(areas) <= 2
        main = annotations[0]['category_id'] - 1
        assert name.parent.name == folders[main]
    for folder in folders:  # balanced
        paths = [*(root / split / folder).glob('*.jpg')]
        assert len(paths) == number // len(CLASSES)


def test_main_object_covers_15_to_40_percent_and_lies_anywhere():
    scenes = [
        draw_scene(i % len(CLASSES), 64, np.random.default_rng(i))
        for i in range(160)
    ]
    masks = [scene.objects[0].mask for scene in scenes]
    areas = np.array([mask.mean() for mask in masks])
    assert areas.min() > 0.14 and areas.max() < 0.415
    corners = np.array([np.argwhere(mask).min(0) for mask in masks])
    extents = np.array([np.ptp(np.argwhere(mask), 0) + 1 for mask in masks])
    # uniform over the room that the object leaves: mean 1/2, variance 1/12
    places = corners / (64 - extents)
    assert np.abs(places.mean(0) - 0.5).max() < 0.06
    assert np.abs(places.std(0) - 12**-0.5).max() < 0.04


def test_centre_prior_is_real_but_beatable(root):
    masks = [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0
        for path in sorted(root.glob('semantic/*/*/*.png'))
    ]
    chance = np.mean([mask.mean() for mask in masks])
    found = measure_localization((np.ones((8, 8)), mask) for mask in masks)
    assert chance + 0.1 < found.centre_pointing.mean < 0.85
    assert chance + 0.1 < found.centre_average_precision.mean < 0.75


def test_complete_set_is_reused(root):
    def times():
        return [p.stat().st_mtime_ns for p in sorted(root.rglob('*'))]

    before = times()
    assert write_demo_data(root, **SMALL) == root
    assert write_demo_data(str(root), **SMALL, seed=np.int64(0)) == root
    assert times() == before


@pytest.mark.parametrize('damage', ['unfinished', 'torn', 'folder', 'other'])
def test_incomplete_set_is_written_again(tmp_path, monkeypatch, damage):
    arguments = dict(num_train=8, num_val=8, image_size=32)
    fresh = contents(write_demo_data(tmp_path, **arguments))
    manifest = tmp_path / MANIFEST
    if damage == 'unfinished':  # the manifest is written last
        def stop(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr('projects.demo.demo_data._write_pictures', stop)
            with pytest.raises(KeyboardInterrupt):
                write_demo_data(tmp_path, **arguments, seed=3)
        assert json.loads(manifest.read_text())['complete'] is False
        manifest.write_text(json.dumps(
            dict(json.loads(manifest.read_text()), seed=0)))
    elif damage == 'torn':
        manifest.write_text(manifest.read_text()[:20])
    elif damage == 'folder':
        (tmp_path / 'semantic').rename(tmp_path / 'elsewhere')
    else:
        write_demo_data(tmp_path, **arguments, seed=3)
        assert contents(tmp_path) != fresh
    write_demo_data(tmp_path, **arguments)
    now = contents(tmp_path)
    assert {name: now[name] for name in fresh} == fresh


@pytest.mark.parametrize('arguments, message', [
    (dict(num_train=0), 'num_train must be >= 1, got 0'),
    (dict(image_size=16), 'image_size must be >= 32, got 16'),
    (dict(num_val=2.5), 'num_val must be an integer, got 2.5'),
    ({}, 'root must be absent, empty or')])
def test_bad_arguments_and_a_folder_of_others(tmp_path, arguments, message):
    photo = tmp_path / 'train' / 'cat' / 'photo.jpg'
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b'mine')
    with pytest.raises(ValueError, match=message):
        write_demo_data(tmp_path, **arguments)
    assert contents(tmp_path) == {'train/cat/photo.jpg': b'mine'}
