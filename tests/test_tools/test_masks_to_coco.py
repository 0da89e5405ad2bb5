"""COCO annotations from pictures of masks."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO


@pytest.fixture
def folders(tmp_path):
    """Six images of 12 x 8 with two objects each, the last with none."""
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
    for i in range(6):
        Image.new('RGB', (12, 8)).save(tmp_path / 'images' / f'a{i}.jpg')
        mask = np.zeros((8, 12), np.uint8)
        if i < 5:
            mask[1:3, 2:7], mask[4:8, 0:2] = 7, 1
        Image.fromarray(mask).save(tmp_path / 'masks' / f'a{i}_mask.png')
    return tmp_path


@pytest.fixture
def convert(call, folders):
    return partial(call, 'masks_to_coco', folders / 'images',
                   folders / 'masks', folders / 'out', '--class-name',
                   'person')


def test_objects_are_those_of_the_masks(convert, folders):
    result = convert('--val-every', 3)
    assert result.returncode == 0, result.stderr
    assert 'instances_train.json: 4 images, 8 objects' in result.stdout
    assert 'instances_val.json: 2 images, 2 objects' in result.stdout
    coco = COCO(str(folders / 'out' / 'instances_train.json'))
    assert coco.cats == {1: dict(id=1, name='person')}
    assert sorted(i['file_name'] for i in coco.imgs.values()) == [
        'a0.jpg', 'a1.jpg', 'a3.jpg', 'a4.jpg']
    low, high = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert low['bbox'] == [0, 4, 2, 4] and high['bbox'] == [2, 1, 5, 2]
    assert (low['area'], high['area']) == (8, 10)
    expected = np.zeros((8, 12), np.uint8)
    expected[1:3, 2:7] = 1
    np.testing.assert_array_equal(coco.annToMask(high), expected)
    val = json.loads((folders / 'out' / 'instances_val.json').read_text())
    assert [i['file_name'] for i in val['images']] == ['a2.jpg', 'a5.jpg']


def refused(result, words):
    assert result.returncode == 1
    assert words in result.stderr


def test_a_mask_without_an_image_of_its_name(convert, folders):
    (folders / 'masks' / 'a1_mask.png').rename(folders / 'masks' / 'b.png')
    Image.new('L', (12, 8)).save(folders / 'masks' / 'a10.png')
    refused(convert(), 'a1.jpg must have one mask, a1.* or a1_*.*, got []')


@pytest.mark.parametrize(('mode', 'size', 'words'), [
    ('L', (8, 12), '12 x 8, got shape (12, 8)'),
    ('RGB', (12, 8), '12 x 8, got shape (8, 12, 3)')])
def test_masks_of_another_shape(convert, folders, mode, size, words):
    Image.new(mode, size).save(folders / 'masks' / 'a3_mask.png')
    refused(convert(), words)


def test_numbers_and_folders(convert, folders):
    refused(convert('--val-every', 7), '--val-every must be from 2 to the '
            'number of images, 6, got 7')
    (folders / 'images').rename(folders / 'elsewhere')
    refused(convert(), 'there is no folder')
