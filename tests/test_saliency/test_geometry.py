"""The crop of a map against what the crop of the image shows."""
from __future__ import annotations

import cv2
import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop

from amt_mm.saliency import compose, crop_map

FLIPS = (None, 'horizontal', 'vertical', 'diagonal')
PATCHES = 14


def _flip(array, direction):
    if direction in ('horizontal', 'diagonal'):
        array = array[:, ::-1]
    if direction in ('vertical', 'diagonal'):
        array = array[::-1]
    return array


def _crops(number, low, high, step=1):
    """Draw image sizes, crop boxes in pixels and flips as training does."""
    np.random.seed(0)
    rng = np.random.default_rng(0)
    crop = RandomResizedCrop(16 * PATCHES, crop_ratio_range=(0.2, 1.))
    for _ in range(number):
        height, width = rng.integers(low, high + 1, 2) // step * step
        top, left, h, w = crop.rand_crop_params(np.empty((height, width)))
        yield (height, width), (left, top, left + w,
                                top + h), rng.choice(FLIPS)


def _shares(box, size):
    (left, top, right, bottom), (height, width) = box, size
    return left / width, top / height, right / width, bottom / height


def _nearest(array, size):
    """Resize by nearest neighbour, pixel centres aligned."""
    (h, w), (new_h, new_w) = array.shape, size
    rows = (np.arange(new_h) * 2 + 1) * h // (2 * new_h)
    columns = (np.arange(new_w) * 2 + 1) * w // (2 * new_w)
    return array[rows[:, None], columns]


def _patch_sums(crop):
    """Sum a crop over each patch, which may cut through pixels."""
    mean = cv2.resize(
        np.ascontiguousarray(crop, np.float64), (PATCHES, PATCHES),
        interpolation=cv2.INTER_AREA)
    return mean * crop.size / PATCHES**2


def _compare(weights, oracle):
    """Return correlation and greatest error relative to the mean weight."""
    weights, oracle = weights / weights.mean(), oracle / oracle.mean()
    correlation = np.corrcoef(weights.ravel(), oracle.ravel())[0, 1]
    return float(correlation), float(np.abs(weights - oracle).max())


def test_2000_crops_against_upsample_then_crop(show):
    rng = np.random.default_rng(1)
    ours, oracle, each = [], [], []
    for size, (left, top, right, bottom), flip in _crops(2000, 280, 448):
        saliency_map = rng.random((PATCHES, PATCHES))
        image = _nearest(saliency_map, size)
        sums = _patch_sums(_flip(image[top:bottom, left:right], flip))
        weights = crop_map(
            saliency_map, _shares((left, top, right, bottom), size), flip)
        each.append(_compare(weights, sums))
        ours.append(weights / weights.mean())
        oracle.append(sums / sums.mean())
    correlation, error = _compare(np.stack(ours), np.stack(oracle))
    worst = min(c for c, _ in each)
    typical = float(np.median([e for _, e in each]))
    show(f'2,000 crops, pixels of a nearest upsampling: correlation '
         f'{correlation:.6f}, of the worst crop {worst:.6f}; error over '
         f'mean weight: greatest {error:.4f}, median crop {typical:.4f}')
    assert correlation >= 0.999 and worst >= 0.99
    # a patch is some 10 pixels wide, and an edge may be half a pixel off
    assert error < 0.25 and typical < 0.1


def test_crop_equals_exact_area_sums():
    # the map divides the image and each pixel is cut in 14: no rounding left
    rng = np.random.default_rng(2)
    errors = []
    for size, (left, top, right, bottom), flip in _crops(60, 56, 98, 14):
        saliency_map = rng.random((PATCHES, PATCHES))
        image = np.kron(saliency_map, np.ones(np.array(size) // PATCHES))
        crop = _flip(image[top:bottom, left:right], flip)
        h, w = crop.shape
        fine = np.kron(crop, np.ones((PATCHES, PATCHES)))
        sums = fine.reshape(PATCHES, h, PATCHES, w).sum((1, 3))
        in_cells = sums / (size[0] * size[1])
        weights = crop_map(
            saliency_map, _shares((left, top, right, bottom), size), flip)
        errors.append(np.abs(weights - in_cells).max())
    assert max(errors) < 1e-12


def test_compose_is_a_crop_of_a_crop():
    image = np.random.default_rng(0).random((60, 80))
    outer, inner = (8, 6, 72, 54), (16, 12, 48, 36)  # pixels
    twice = image[6:54, 8:72][12:36, 16:48]
    box = compose(_shares(outer, (60, 80)), _shares(inner, (48, 64)))
    left, top, right, bottom = (round(v) for v in np.multiply(
        box, (80, 60, 80, 60)))
    np.testing.assert_array_equal(image[top:bottom, left:right], twice)
