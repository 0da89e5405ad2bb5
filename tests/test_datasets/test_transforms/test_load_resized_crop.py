"""Reduced decoding: the same crops, almost the same pixels."""
from __future__ import annotations

import numpy as np
import pytest
from image_bytes import UNUSUAL, encode, noise
from mmengine.dataset import Compose
from PIL import Image

from amt_mm.datasets.transforms import LoadResizedCrop, UnreadableImageError
from amt_mm.datasets.transforms.load_resized_crop import Drawn, reduction_for

MODULE = 'amt_mm.datasets.transforms.load_resized_crop'
CROP = dict(scale=32, crop_ratio_range=(0.2, 1.), backend='pillow',
            interpolation='bicubic')


def _load(path, seed, crop, reduced, **options):
    """Load a crop in one step or in two, and a random number after it."""
    steps = [dict(type='amt_mm.LoadResizedCrop', crop=crop, **options)] \
        if reduced else [dict(type='amt_mm.LoadImage', **options),
                         dict(type='amt_mm.RandomResizedCropWithBox', **crop)]
    np.random.seed(seed)
    results = Compose(steps)(dict(img_path=str(path)))
    assert set(results) == {
        'img_path', 'img', 'img_shape', 'ori_shape', 'crop_box'}
    results['next'] = np.random.random()
    return results


def _psnr(one, two):
    error = np.square(one.astype(float) - two).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def _compare(path, seed, crop, **options):
    """Check that both ways agree but for the pixels; return how near."""
    one, two = (_load(path, seed, crop, reduced, **options)
                for reduced in (True, False))
    images = one.pop('img'), two.pop('img')
    assert one == two
    assert images[0].dtype == images[1].dtype
    return _psnr(*images)


@pytest.fixture
def drawn(monkeypatch):
    """Record what is decoded."""
    found: list[Drawn] = []

    def record(*values):
        found.append(Drawn(*values))
        return found[-1]

    monkeypatch.setattr(f'{MODULE}.Drawn', record)
    return found


@pytest.fixture
def path(tmp_path):
    """Return a JPEG of 331 x 402."""
    path = tmp_path / 'x.jpg'
    path.write_bytes(encode(noise(331, 402), 'JPEG', quality=95))
    return path


@pytest.mark.parametrize('backend', ['pillow', 'cv2', 'torch'])
def test_large_jpegs_are_reduced(path, drawn, backend):
    crop = dict(CROP, backend=backend)
    # without Pillow a crop ends with a reduced pixel, not within
    low = 22 if backend == 'cv2' else 38
    assert min(_compare(path, seed, crop) for seed in range(20)) > low
    assert {d.reduction for d in drawn} == {4, 8}
    assert {d.shape for d in drawn} == {(331, 402)}
    # the whole image, of which no crop is drawn
    np.random.seed(0)
    whole = LoadResizedCrop(crop=crop).uncropped()(dict(img_path=str(path)))
    assert np.random.random() == np.random.RandomState(0).random()
    assert whole['crop_box'] == (0, 0, 1, 1) and drawn[-1].reduction == 8
    expected = Image.open(path).resize((32, 32), Image.Resampling.BICUBIC)
    assert _psnr(whole['img'], np.asarray(expected)[..., ::-1]) > low - 2


@pytest.mark.parametrize('image, options', [
    (noise(300, 420), dict(progressive=True)),
    (noise(300, 420).convert('CMYK'), {}),
    (noise(300, 420).convert('L'), dict(subsampling=0))])
def test_kinds_of_jpeg(path, drawn, image, options):
    path.write_bytes(encode(image, 'JPEG', quality=95, **options))
    assert min(_compare(path, seed, CROP) for seed in range(4)) > 36
    assert {d.reduction for d in drawn} <= {4, 8}


def test_the_reduction_leaves_the_pixels_of_the_output():
    found = {(h, w): reduction_for((0, 0, h, w), (32, 64))
             for h, w in ((31, 999), (63, 128), (64, 127), (64, 128),
                          (127, 300), (128, 256), (256, 511), (256, 512),
                          (9999, 9999))}
    assert [*found.values()] == [1, 1, 1, 2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize('content, options', [
    *((content, {}) for content in UNUSUAL.values()),
    (encode(noise(300, 300), 'JPEG'), dict(color_type='grayscale')),
    (encode(noise(300, 300), 'JPEG'), dict(imdecode_backend='pillow'))])
def test_what_cannot_be_reduced_is_the_same(path, content, options):
    path.write_bytes(content)
    assert _compare(path, 0, CROP, **options) > 99


def test_kept_images_serve_every_crop(path):
    """Whatever was shown before: other crops, or the whole image."""
    keeping = LoadResizedCrop(crop=CROP, keep_all=True)
    steps = dict(keeping=keeping, whole=keeping.uncropped(),
                 plain=LoadResizedCrop(crop=CROP))
    for seed in range(12):
        crops = {}
        for name, load in steps.items():
            np.random.seed(seed)
            crops[name] = load(dict(img_path=str(path)))
        images = {name: crop.pop('img') for name, crop in crops.items()}
        assert crops['keeping'] == crops['plain']
        assert crops['whole']['ori_shape'] == (331, 402)
        assert _psnr(images['keeping'], images['plain']) > 38
        np.testing.assert_array_equal(
            images['keeping'], _load(path, seed, CROP, False)['img'])


@pytest.mark.parametrize('height, width, reductions', [
    (304, 424, {4, 8}), (300, 420, {4}), (301, 420, {1})])
@pytest.mark.parametrize('orientation', [1, 2, 3, 5, 6, 7])
def test_orientation(path, drawn, orientation, height, width, reductions):
    exif = Image.Exif()
    exif[274] = orientation
    path.write_bytes(encode(noise(height, width), 'JPEG', quality=95,
                            exif=exif))
    assert min(_compare(path, seed, CROP) for seed in range(5)) > 38
    shape = (width, height) if orientation >= 5 else (height, width)
    assert {d.shape for d in drawn} == {shape}
    # a turned image is only reduced to whole pixels
    reductions = reductions if orientation > 1 else {4, 8}
    assert {d.reduction for d in drawn} == reductions


@pytest.mark.parametrize('exif', [
    b'Exif\0\0', b'Exif\0\0no TIFF', b'Exif\0\0II*\0\xff\xff\xff\xff',
    b'Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\2\0\0\0\4six\0\0\0\0\0',
    b'Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x09\0\0\0\0\0\0'])
def test_broken_exif(path, exif):
    jpeg = path.read_bytes()
    segment = b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    assert _compare(path, 0, CROP) > 38


def test_a_decoder_that_sees_another_orientation(path, monkeypatch):
    path.write_bytes(encode(noise(300, 420), 'JPEG'))
    monkeypatch.setattr('PIL.Image.Image.getexif', lambda image: {0x112: 6})
    results = _load(path, 0, CROP, True)
    # the crop is one of the image as it was decoded
    assert results['ori_shape'] == (300, 420)
    sides = np.multiply(results['crop_box'], (420, 300, 420, 300))
    np.testing.assert_allclose(sides, sides.round(), atol=1e-9)


def test_refuses_what_load_image_refuses(path):
    path.write_bytes(path.read_bytes()[:-2000])
    results = dict(img_path=str(path))
    with pytest.raises(UnreadableImageError, match=f'the image {path}: '):
        LoadResizedCrop(CROP)(results)
    assert LoadResizedCrop(CROP, ignore_empty=True)(results) is None
