"""Resizing a part of an image, as the libraries themselves do it."""
from __future__ import annotations

import mmcv
import numpy as np
import pytest
from PIL import Image

from amt_mm.datasets.transforms import RandomResizedCropWithBox
from amt_mm.datasets.transforms.random_resized_crop_with_box import resize_box


def _image(*channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (12, 16, 3), np.uint8)
    image = np.asarray(Image.fromarray(small).resize((160, 120)))
    return image if channels else np.ascontiguousarray(image[..., 0])


@pytest.mark.parametrize('channels', [(), (3, )])
@pytest.mark.parametrize('backend, interpolation', [
    ('pillow', 'bicubic'), ('pillow', 'lanczos'), ('cv2', 'area'),
    ('cv2', 'bilinear')])
def test_whole_pixels_as_mmcv(channels: tuple, backend: str,
                              interpolation: str) -> None:
    image = _image(*channels)
    expected = mmcv.imresize(
        image[10:90, 20:150], (40, 30), interpolation=interpolation,
        backend=backend)
    found = resize_box(image, (20, 10, 150, 90), (30, 40), interpolation,
                       backend)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(30, 40), (200, 300)])
def test_torch_is_near_pillow(interpolation: str, size: tuple) -> None:
    for channels in ((), (3, )):
        image = _image(*channels)
        image.flags.writeable = False
        one, two = (
            resize_box(image, (20, 10, 150, 90), size, interpolation, backend)
            for backend in ('torch', 'pillow'))
        assert one.shape == two.shape and one.dtype == two.dtype == np.uint8
        difference = np.abs(one.astype(int) - two)
        assert difference.max() <= 2 and difference.mean() < 0.1


@pytest.mark.parametrize('backend', ['pillow', 'torch'])
def test_a_box_that_ends_within_a_pixel(backend: str) -> None:
    image = _image(3)
    found = resize_box(image, (20.5, 10.25, 150.75, 90), (30, 40), 'bicubic',
                       backend)
    expected = Image.fromarray(image).resize(
        (40, 30), Image.Resampling.BICUBIC, (20.5, 10.25, 150.75, 90))
    difference = np.abs(found.astype(int) - np.asarray(expected))
    # but for what the filter sees beyond the box
    assert difference[2:-2, 2:-2].max() <= 1
    assert difference.mean() < 1


def test_torch_has_not_all_interpolations() -> None:
    with pytest.raises(ValueError, match="backend='torch', got 'lanczos'"):
        RandomResizedCropWithBox(
            32, backend='torch', interpolation='lanczos')
