"""The crop of a map against what the crop of the image shows."""
from __future__ import annotations

import numpy as np
import pytest
from mmpretrain.datasets.transforms import RandomResizedCrop

from amt_mm.saliency import compose, crop_map

PATCHES = 14
# where rows and columns of a flipped image come from
FLIPS = {None: (1, 1), 'horizontal': (1, -1), 'vertical': (-1, 1),
         'diagonal': (-1, -1)}


def shares(box, size):
    (left, top, right, bottom), (height, width) = box, size
    return left / width, top / height, right / width, bottom / height


@pytest.mark.parametrize('flip', FLIPS)
def test_crop_equals_exact_area_sums(flip):
    """The map divides the image, and each pixel is cut in 14: no rounding."""
    np.random.seed(0)
    rng = np.random.default_rng(2)
    draw = RandomResizedCrop(16 * PATCHES, crop_ratio_range=(0.2, 1.))
    for _ in range(15):
        height, width = rng.integers(4, 8, 2) * PATCHES
        saliency_map = rng.random((PATCHES, PATCHES))
        image = saliency_map.repeat(height // PATCHES, 0).repeat(
            width // PATCHES, 1)
        top, left, h, w = draw.rand_crop_params(image)
        crop = image[top:top + h, left:left + w]
        crop = crop[::FLIPS[flip][0], ::FLIPS[flip][1]]
        fine = crop.repeat(PATCHES, 0).repeat(PATCHES, 1)
        sums = fine.reshape(PATCHES, h, PATCHES, w).sum((1, 3))
        found = crop_map(saliency_map, shares(
            (left, top, left + w, top + h), (height, width)), flip)
        np.testing.assert_allclose(
            found, sums / (height * width), rtol=0, atol=1e-12)


def test_compose_is_a_crop_of_a_crop():
    image = np.random.default_rng(0).random((60, 80))
    outer, inner = (8, 6, 72, 54), (16, 12, 48, 36)  # pixels
    twice = image[6:54, 8:72][12:36, 16:48]
    box = compose(shares(outer, (60, 80)), shares(inner, (48, 64)))
    left, top, right, bottom = (round(v) for v in np.multiply(
        box, (80, 60, 80, 60)))
    np.testing.assert_array_equal(image[top:bottom, left:right], twice)
