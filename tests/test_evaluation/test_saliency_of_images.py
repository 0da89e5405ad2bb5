"""Saliency of image files, and what plans do to objects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from amt_mm.datasets import ImageFolder
from amt_mm.evaluation import (
    localize,
    masks_from_boxes,
    masks_from_folder,
    object_roles,
    saliency_of_images,
)


class Brightness(torch.nn.Module):
    """A model that looks at what is bright, on a grid of 4 x 4."""

    def data_preprocessor(self, data):
        return dict(inputs=data['inputs'].float())

    def saliency(self, inputs):
        pooled = torch.nn.functional.adaptive_avg_pool2d(
            inputs.mean(1, keepdim=True), 4)[:, 0]
        return pooled / 255


@pytest.fixture
def squares(tmp_path):
    """Six dark images with a bright square each, and their masks."""
    rng = np.random.default_rng(0)
    for name in ('images/a', 'masks/a'):
        (tmp_path / name).mkdir(parents=True)
    boxes = []
    for i in range(6):
        x, y = rng.integers(0, 32, 2)
        image = np.zeros((64, 64, 3), np.uint8)
        image[y:y + 32, x:x + 32] = 255
        cv2.imwrite(str(tmp_path / f'images/a/{i}.jpg'), image)
        cv2.imwrite(str(tmp_path / f'masks/a/{i}.png'), image[..., 0])
        boxes.append(f'a/{i}.jpg {x} {y} {x + 31} {y + 31}')
    (tmp_path / 'boxes.txt').write_text('\n'.join(boxes))
    return tmp_path


def test_a_model_that_looks_at_the_object_beats_the_centre(squares):
    truths = masks_from_folder(squares / 'images', squares / 'masks')
    result = localize(Brightness(), truths, (32, 32))
    assert result.pointing.mean == 1
    assert result.average_precision.mean > 0.9
    assert result.average_precision.mean > \
        result.centre_average_precision.mean + 0.1
    # maps come in order, in batches of any size
    whole, parts = (list(saliency_of_images(
        Brightness(), sorted(truths), (32, 32), number)) for number in (64, 4))
    assert len(whole) == 6 and whole[0].shape == (4, 4)
    np.testing.assert_array_equal(whole, parts)


def test_boxes_are_masks(squares):
    boxes = masks_from_boxes(squares / 'images', squares / 'boxes.txt')
    masks = masks_from_folder(squares / 'images', squares / 'masks')
    assert list(boxes) == list(masks)
    for path in boxes:
        # a box may count its last pixel or not
        assert (boxes[path] != masks[path]).mean() < 0.04
    # those without area, which real annotations hold, are left out
    (squares / 'boxes.txt').write_text('a/0.jpg 5 0 9 0\na/1.jpg 1 1 9 9')
    boxes = masks_from_boxes(squares / 'images', squares / 'boxes.txt')
    assert [path.name for path in boxes] == ['1.jpg']


def test_wrong_truths_are_told(squares):
    path = squares / 'masks/a/3.png'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f'cannot read the image {path}'):
        masks_from_folder(squares / 'images', squares / 'masks')
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'3\.jpg has no mask'):
        masks_from_folder(squares / 'images', squares / 'masks')
    (squares / 'none').mkdir()
    with pytest.raises(FileNotFoundError, match='no image below'):
        masks_from_folder(squares / 'none', squares / 'masks')


@pytest.mark.parametrize('line, message', [
    ('../boxes.txt 1 1 9 9', r"line 2: the image must be below .*, got '../b"),
    ('/etc/passwd 1 1 9 9', 'the image must be below'),
    ('a/1.jpg 1 2 3', 'line 2: expected PATH XMIN YMIN XMAX YMAX, '),
    ('a/1.jpg 1 1 nan 9', "four finite numbers, got 'a/1.jpg 1 1 nan 9'"),
    ('a/1.jpg 1 1 x 9', 'four finite numbers'),
    ('a/1.jpg -inf 1 2 9', 'four finite numbers'),
    ('a/none.jpg 1 1 9 9', 'cannot read the image .*a/none.jpg'),
])
def test_hostile_boxes_are_refused(squares, line, message):
    (squares / 'boxes.txt').write_text(f'a/0.jpg 1 1 9 9\n{line}')
    with pytest.raises(ValueError, match=message):
        masks_from_boxes(squares / 'images', squares / 'boxes.txt')


def _masks_where_the_object_is(results):
    """Mask the bright half of each picture; what is dark stays visible."""
    grey = cv2.resize(results['img'][..., 0], (8, 8),
                      interpolation=cv2.INTER_AREA)
    results['mask_plan'] = (grey > 127).astype(np.int8)
    return results


def test_roles_of_objects_follow_crop_and_flip(squares):
    dataset = ImageFolder(
        data_root=str(squares / 'images'),
        pipeline=[
            dict(type='amt_mm.LoadImage'),
            dict(type='amt_mm.RandomResizedCropWithBox', scale=64),
            dict(type='RandomFlip', prob=0.5),
            _masks_where_the_object_is
        ])
    truths = masks_from_folder(squares / 'images', squares / 'masks')
    np.random.seed(0)
    roles = object_roles(dataset, truths)
    assert sum(roles.values()) == pytest.approx(1)
    assert roles['masked'] > 0.85 and roles['thrown'] == 0
