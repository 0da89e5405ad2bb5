"""The same crops as upstream's, and a box that says where they are."""
from __future__ import annotations

import mmcv
import numpy as np
import pytest
from image_bytes import noise
from mmcv.transforms import RandomFlip
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image

from amt_mm.datasets.transforms import (
    AMTMaskGenerator,
    RandomResizedCropWithBox,
)
from amt_mm.datasets.transforms.random_resized_crop_with_box import resize_box
from amt_mm.masking import MASKED
from amt_mm.saliency import SaliencyStore

OPTIONS = dict(scale=(24, 32), crop_ratio_range=(0.2, 1.))


def _image(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(30, 90, 2)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize('options', [
    {}, dict(backend='pillow', interpolation='bicubic'),
    dict(backend='pillow', interpolation='lanczos'),
    dict(interpolation='area'),
    dict(crop_ratio_range=(0.9, 1.), aspect_ratio_range=(3., 4.))])
def test_same_pixels_as_upstream(options):
    options = {**OPTIONS, **options}
    ours = RandomResizedCropWithBox(**options)
    theirs = RandomResizedCrop(**options)
    boxes = set()
    for seed in range(30):
        image = _image(seed)
        height, width = image.shape[:2]
        np.random.seed(seed)
        expected = theirs(dict(img=image.copy()))
        state = np.random.random()
        np.random.seed(seed)
        results = ours(dict(img=image.copy()))
        assert np.random.random() == state  # as many numbers were drawn
        np.testing.assert_array_equal(results['img'], expected['img'])
        assert results['img_shape'] == expected['img_shape'] == (24, 32, 3)
        # the box cuts out the very pixels
        box = results['crop_box']
        boxes.add(box)
        pixels = np.multiply(box, (width, height, width, height))
        left, top, right, bottom = pixels.round().astype(int)
        assert np.abs(pixels - pixels.round()).max() < 1e-9
        cut = mmcv.imresize(
            image[top:bottom, left:right], (32, 24),
            interpolation=ours.interpolation, backend=ours.backend)
        np.testing.assert_array_equal(results['img'], cut)
    assert len(boxes) > 25


def _coordinates(height, width):
    """Make an image whose channels are the place of each pixel."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x / width, y / height], -1).astype(np.float32)


def _crop(height, width):
    return RandomResizedCropWithBox((height, width), (0.3, 0.8))


def _flip(direction):
    return RandomFlip(prob=1., direction=direction)


PIPELINES = {
    'crop': [_crop(48, 64)],
    'crop, flip': [_crop(48, 64), _flip('horizontal')],
    'flip, crop': [_flip('horizontal'), _crop(48, 64)],
    'flip upside down, crop': [_flip('vertical'), _crop(48, 64)],
    'crop, crop': [_crop(90, 110), _crop(48, 64)],
    'crop, flip, crop': [_crop(90, 110), _flip('horizontal'),
                         _crop(48, 64)],
    'flip, crop, crop': [_flip('diagonal'), _crop(90, 110), _crop(48, 64)],
}


@pytest.mark.parametrize('name', PIPELINES)
def test_weights_and_masks_match_what_the_pixels_show(name, tmp_path):
    np.random.seed(0)
    rng = np.random.default_rng(0)
    maps = rng.random((30, 6, 8)).astype(np.float16)
    store = SaliencyStore(tmp_path, 30, (6, 8), 'x')
    store.reset()
    store.write(0, maps)
    generator = AMTMaskGenerator(
        (48, 64), 8, mask_ratio=.25, throw_ratio=.5,
        ordering=dict(type='amt_mm.AttMaskHighOrdering'))
    generator.store = store
    ours, shown = [], []
    for index, saliency_map in enumerate(maps):
        results = dict(img=_coordinates(*rng.integers(150, 300, 2)),
                       sample_idx=index)
        for step in (*PIPELINES[name], generator):
            results = step(results)
        # what each final pixel shows, looked up in the map
        x, y = np.moveaxis(results['img'], -1, 0)
        seen = saliency_map[(y * 6).astype(int).clip(0, 5),
                            (x * 8).astype(int).clip(0, 7)]
        seen = seen.reshape(6, 8, 8, 8).mean((1, 3), dtype=float)
        ours.append(results['saliency'] / results['saliency'].mean())
        shown.append(seen / seen.mean())
        masked = results['mask_plan'] == MASKED
        assert seen[masked].min() > seen[~masked].max() - .1
    ours_all, shown_all = np.stack(ours), np.stack(shown)
    assert np.corrcoef(ours_all.ravel(), shown_all.ravel())[0, 1] > 0.995
    assert np.abs(ours_all - shown_all).max() < 0.25


# ---- a part of an image, as the libraries themselves resize it


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(30, 40), (200, 300)])
def test_torch_is_near_pillow(interpolation, size):
    colours = np.array(noise(120, 160))
    for image in (colours, np.ascontiguousarray(colours[..., 0])):
        image.flags.writeable = False
        one, two = (
            resize_box(image, (20, 10, 150, 90), size, interpolation, backend)
            for backend in ('torch', 'pillow'))
        assert one.shape == two.shape and one.dtype == two.dtype == np.uint8
        difference = np.abs(one.astype(int) - two)
        assert difference.max() <= 2 and difference.mean() < 0.1
    with pytest.raises(ValueError, match="backend='torch', got 'lanczos'"):
        RandomResizedCropWithBox(32, backend='torch', interpolation='lanczos')


@pytest.mark.parametrize('backend', ['pillow', 'torch'])
def test_a_box_that_ends_within_a_pixel(backend):
    image = np.array(noise(120, 160))
    found = resize_box(image, (20.5, 10.25, 150.75, 90), (30, 40), 'bicubic',
                       backend)
    expected = Image.fromarray(image).resize(
        (40, 30), Image.Resampling.BICUBIC, (20.5, 10.25, 150.75, 90))
    difference = np.abs(found.astype(int) - np.asarray(expected))
    # but for what the filter sees beyond the box
    assert difference[2:-2, 2:-2].max() <= 1
    assert difference.mean() < 1
