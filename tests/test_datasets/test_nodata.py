"""Pixels without data, from the file to the plan."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from mmcv.transforms import RandomFlip
from nodata_tiles import tile
from PIL import Image

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.transforms import (
    AMTMaskGenerator,
    LoadArray,
    LoadImage,
    LoadResizedCrop,
    RandomResizedCropWithBox,
    UnreadableImageError,
)
from amt_mm.masking import MASKED, UNCOUNTED
from amt_mm.saliency import SaliencyStore

RANDOM = dict(type='amt_mm.RandomOrdering')


def with_alpha(image, is_missing):
    """Return an image (H, W, 4), transparent where data is missing."""
    return np.dstack([image, np.where(is_missing, 0, 255)]).astype(np.uint8)


def load(path, kind=LoadImage, **options):
    return kind(**options)(dict(img_path=str(path)))


def check_filled(results, image, is_missing):
    """Compare what was loaded with an image (H, W, C) as it was."""
    np.testing.assert_array_equal(results['data_mask'], ~is_missing)
    mean = image[~is_missing].mean(0)
    if results['img'].dtype == np.uint8:
        mean = np.round(mean)
    np.testing.assert_allclose(results['img'][is_missing],
                               np.broadcast_to(mean, (is_missing.sum(), 3)),
                               rtol=1e-6)
    np.testing.assert_allclose(results['img'][~is_missing],
                               image[~is_missing], rtol=1e-6)


# ---- files


@pytest.mark.parametrize('option', [{}, dict(keep_all=True),
                                    dict(keep_last=True)])
def test_a_level(tmp_path, option):
    image, is_missing = tile(0, 'diagonal', .3, 40, 48)
    image[is_missing] = 0
    image[20, 24] = 0, 9, 0  # one channel alone is a colour
    path = tmp_path / 'x.png'
    Image.fromarray(image).save(path)
    transform = LoadImage(nodata=0, **option)
    for _ in range(2):
        check_filled(transform(dict(img_path=str(path))), image[..., ::-1],
                     is_missing)
    assert 'data_mask' not in load(path)
    assert 'data_mask' not in load(path, nodata=255)
    assert 'data_mask' not in load(path, nodata='alpha')


@pytest.mark.parametrize('ending', ['png', 'tif', 'webp', 'turned.png'])
def test_an_alpha_channel(tmp_path, ending):
    image, is_missing = tile(0, 'corner', .45, 40, 48)
    options = dict(lossless=True, exact=True) if ending == 'webp' else {}
    path = tmp_path / f'x.{ending}'
    if ending == 'turned.png':
        exif = options['exif'] = Image.Exif()
        exif[0x0112] = 6
    Image.fromarray(with_alpha(image, is_missing)).save(path, **options)
    if ending == 'turned.png':
        image, is_missing = (np.rot90(x, -1) for x in (image, is_missing))
    check_filled(load(path, nodata='alpha'), image[..., ::-1], is_missing)


def test_other_ways_of_transparency(tmp_path):
    _, is_missing = tile(0, 'border', .25, 40, 48)
    grey = np.where(is_missing, 7, 200).astype(np.uint8)
    alpha = np.where(is_missing, 0, 255).astype(np.uint8)
    Image.merge('LA', [*map(Image.fromarray, (grey, alpha))]).save(
        tmp_path / 'grey.png')
    palette = Image.fromarray(is_missing.astype(np.uint8))
    palette.putpalette([200, 200, 200, 7, 7, 7])
    palette.save(tmp_path / 'palette.png', transparency=1)
    for name in ('grey', 'palette'):
        results = load(tmp_path / f'{name}.png', nodata='alpha')
        np.testing.assert_array_equal(results['data_mask'], ~is_missing)
        assert (results['img'] == 200).all(), name


@pytest.mark.parametrize('nodata, dtype', [
    ('nan', 'f4'), (-9999, 'f4'), (-9999., 'i2'), (0, 'u2'), ('alpha', 'u2')])
def test_arrays(tmp_path, nodata, dtype):
    image, is_missing = tile(0, 'diagonal', .6, 40, 48)
    levels = image.astype(dtype)
    if nodata == 'alpha':
        levels = np.dstack([levels, ~is_missing]).astype(dtype)
    else:
        levels[is_missing] = float(nodata)
    np.save(tmp_path / 'x.npy', levels)
    results = load(tmp_path / 'x.npy', LoadArray, value_range=(0, 100),
                   num_channels=3, nodata=nodata)
    assert results['img'].dtype == np.float32
    mean = image[~is_missing].mean(0)
    if dtype != 'f4':
        mean = np.round(mean)
    image = np.where(is_missing[..., None], mean, image) / np.float32(100)
    np.testing.assert_array_equal(results['data_mask'], ~is_missing)
    np.testing.assert_allclose(results['img'], image, rtol=1e-6)


def test_one_channel_of_an_array(tmp_path):
    """A level is a mark by itself only where no data can have it."""
    image = np.full((4, 5, 2), 50.)
    image[1, 2, 0] = -9999
    image[3, 4, 1] = 0
    path = tmp_path / 'x.npy'
    np.save(path, image)
    options = dict(kind=LoadArray, value_range=(0, 100))
    mask = load(path, nodata=-9999, **options)['data_mask']
    assert np.argwhere(~mask).tolist() == [[1, 2]]
    assert 'data_mask' not in load(path, nodata=0, **options)
    image[1, 2, 0] = np.nan
    np.save(path, image)
    mask = load(path, nodata='nan', **options)['data_mask']
    assert np.argwhere(~mask).tolist() == [[1, 2]]
    image[0, 0] = np.inf
    np.save(path, image)
    with pytest.raises(UnreadableImageError, match='values are not finite'):
        load(path, nodata='nan', **options)


@pytest.mark.parametrize('kind, options', [
    (LoadImage, dict(nodata=0)), (LoadImage, dict(nodata='alpha')),
    (LoadArray, dict(nodata='nan', value_range=(0, 1)))])
def test_no_data_at_all(tmp_path, kind, options):
    path = tmp_path / 'x'
    if kind is LoadArray:
        with open(path, 'wb') as file:
            np.save(file, np.full((8, 9, 2), np.nan))
    else:
        Image.new('RGBA', (9, 8)).save(path, 'PNG')
    with pytest.raises(UnreadableImageError,
                       match='none of its 72 pixels holds data'):
        load(path, kind, **options)


@pytest.mark.parametrize('kind, nodata, message', [
    (LoadImage, 'nan', "nodata must be a number or.*got 'nan'"),
    (LoadImage, float('nan'), 'nodata must be in'),
    (LoadImage, True, 'nodata must be a number'),
    (partial(LoadImage, color_type='unchanged'), 'alpha', "'unchanged'"),
    (LoadArray, 'NaN', "one of \\['alpha', 'nan'\\], got 'NaN'")])
def test_options_that_mean_nothing(kind, nodata, message):
    options = dict(value_range=(0, 1)) if kind is LoadArray else {}
    with pytest.raises((ValueError, TypeError), match=message):
        kind(nodata=nodata, **options)


def test_a_jpeg_is_decoded_whole(tmp_path):
    """A reduced image would mix data with what is none."""
    image, is_missing = tile(0, 'border', .5, 400, 400)
    image[is_missing] = 0
    path = tmp_path / 'x.jpg'
    Image.fromarray(image).save(path, quality=100, subsampling=0)
    results = LoadResizedCrop(dict(scale=32), nodata=0)(
        dict(img_path=str(path)))
    assert results['data_mask'].shape == (400, 400)
    assert results['img'].shape == (32, 32, 3)


# ---- plans


def plan_tile(generator, image, is_missing, whole=False):
    """Crop and flip a tile at random, and plan it."""
    scale = (1., 1.) if whole else (.3, 1.)
    results = dict(img=image, data_mask=~is_missing, sample_idx=0)
    ratio = dict(aspect_ratio_range=(1., 1.)) if whole else {}
    for step in (RandomResizedCropWithBox(224, crop_ratio_range=scale,
                                          **ratio),
                 RandomFlip(.5)):
        results = step(results)
    return generator(results), results


def expected_share(results, is_missing, cells):
    """Return the share missing (h, w) as OpenCV averages the pixels."""
    height, width = is_missing.shape
    left, top, right, bottom = results['crop_box']
    cut = is_missing[round(top * height):round(bottom * height),
                     round(left * width):round(right * width)]
    if results['flip']:
        cut = cut[:, ::-1]
    return cv2.resize(cut.astype(np.float32), cells[::-1],
                      interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize('ratio', [.1, .5, 1.])
@pytest.mark.parametrize('kind, cell_size', [
    ('border', 16), ('corner', 32), ('diagonal', 16)])
def test_patches_are_those_of_the_crop_and_not_masked(kind, cell_size, ratio):
    image, is_missing = tile(0, kind, .45, 180, 250)
    generator = AMTMaskGenerator(224, ordering=RANDOM, nodata_ratio=ratio,
                                 cell_size=cell_size)
    np.random.seed(0)
    flips = set()
    for _ in range(20):
        planned, results = plan_tile(generator, image, is_missing)
        share = expected_share(results, is_missing, generator.cells)
        found = generator.missing(results)
        found = np.zeros(generator.cells, bool) if found is None else found
        tokens = found.repeat(generator.scale, 0).repeat(generator.scale, 1)
        assert not (planned['mask_plan'][tokens] == MASKED).any()
        assert (planned['mask_plan'] == UNCOUNTED).sum() == max(
            0, tokens.sum() - 108)
        sure = np.abs(share - ratio) > 1e-3
        np.testing.assert_array_equal(found[sure], (share >= ratio)[sure])
        if ratio == 1:
            np.testing.assert_array_equal(found, share > 1 - 1e-6)
        flips.add(results['flip'])
    assert flips == {False, True}


def test_saliency_of_missing_patches_does_not_matter(tmp_path):
    """Whatever the map has there, the plan and the loss see zeros."""
    image, is_missing = tile(0, 'border', .5)
    generator = AMTMaskGenerator(224, ordering=dict(
        type='amt_mm.AttentionOrdering', uniform_mix=.3))
    saliency_map = np.random.default_rng(0).random((14, 14))
    plans = []
    for level in (0., 1.):
        saliency_map[:, :7] = level
        store = SaliencyStore(tmp_path / str(level), 1, (14, 14), 'x')
        store.reset()
        store.write(0, saliency_map[None])
        generator.store = store
        np.random.seed(2)
        results, _ = plan_tile(generator, image, is_missing, whole=True)
        missing = generator.missing(results)
        assert missing.sum() == 98
        assert not results['saliency'][missing].any()
        assert results['saliency'][~missing].all()
        plans.append(results['mask_plan'])
    shown = [np.where(missing, 9, plan) for plan in plans]
    np.testing.assert_array_equal(*shown)


def test_another_sample_for_a_crop_without_data(tmp_path):
    """A spot of data, which most crops miss, and an image that is whole."""
    image, _ = tile(0, 'border', 0., 64, 64)
    Image.fromarray(image).save(tmp_path / 'whole.png')
    image[2:, 2:] = 0
    Image.fromarray(image).save(tmp_path / 'almost_empty.png')
    dataset = ImageFolder(str(tmp_path), pipeline=[
        LoadImage(nodata=0), RandomResizedCropWithBox(32),
        AMTMaskGenerator(32, 8, ordering=RANDOM)])
    np.random.seed(0)
    names = {dataset[0]['img_path'] for _ in range(5)}
    assert names == {str(tmp_path / 'whole.png')}
    assert not dataset.unreadable.any()
