"""Localization measures against brute force and hand-made cases."""
from __future__ import annotations

import numpy as np
import pytest

from amt_mm.evaluation import (
    average_precision,
    box_mask,
    centre_prior,
    measure_localization,
    pointing_accuracy,
)


def brute_force(scores, truth):
    """Sum (R_n - R_{n-1}) P_n, one threshold after the other."""
    total, last_recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        precision = truth[chosen].mean()
        recall = truth[chosen].sum() / truth.sum()
        total += (recall - last_recall) * precision
        last_recall = recall
    return total


@pytest.mark.parametrize('levels', [2, 10, 10**6])
def test_average_precision_equals_brute_force(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        scores = rng.integers(levels, size=(9, 7)) / levels
        mask = rng.random((9, 7)) < rng.uniform(0.1, 0.9)
        mask[0, 0] = True
        expected = brute_force(scores.ravel(), mask.ravel())
        assert average_precision(scores, mask) == pytest.approx(expected)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_constant_map_scores_the_share_of_the_mask(dtype):
    mask = np.random.default_rng(0).random((50, 63)) < 0.3
    for value in (0., 1 / 3, 1.):
        found = average_precision(np.full((7, 5), value, dtype), mask)
        assert found == pytest.approx(mask.mean())


def test_map_is_aligned_with_the_mask():
    # one cell of 3 x 4 on an image of 30 x 80: rows 10-19, columns 40-59
    saliency_map = np.zeros((3, 4))
    saliency_map[1, 2] = 1
    mask = np.zeros((30, 80), bool)
    mask[15, 50] = True
    assert pointing_accuracy(saliency_map, mask) == 1
    mask[10:20, 40:60] = True
    assert average_precision(saliency_map, mask) > 0.95
    mirrored = average_precision(saliency_map[:, ::-1], mask)
    assert mirrored < 0.2
    # of the size of the mask: perfect and inverted
    assert average_precision(mask.astype(float), mask) == 1
    assert pointing_accuracy(1.0 - mask, mask) == 0


def test_tied_maxima_share_the_point():
    mask = np.arange(64).reshape(8, 8) % 8 < 2
    found = measure_localization([(np.ones((4, 4)), mask)])
    assert found.pointing.mean == 0.25
    assert np.isnan(found.pointing.standard_error)
    assert 'pointing 0.250' in str(found)


@pytest.mark.parametrize('height, width', [(8, 8), (7, 7), (6, 9)])
def test_centre_prior(height, width):
    prior = centre_prior(height, width)
    assert prior.shape == (height, width) and prior.max() == 1
    np.testing.assert_allclose(prior, prior[::-1, ::-1], rtol=1e-6)
    middle = prior[height // 2]
    assert (np.diff(middle[width // 2:]) < 0).all()
    num_peaks = (2 - height % 2) * (2 - width % 2)
    assert (prior == 1).sum() == num_peaks


@pytest.mark.parametrize('box, rows, columns', [
    ((2, 1, 5, 3), (1, 3), (2, 5)), ((-3, 4.5, 1.2, 99), (4, 6), (0, 2)),
    ((-9, -9, -2, -2), (0, 0), (0, 0))])
def test_box_mask(box, rows, columns):
    expected = np.zeros((6, 8), bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(box_mask(np.array(box), 6, 8), expected)


def test_measure_localization():
    rng = np.random.default_rng(0)
    corners = rng.integers(20, size=(12, 2))
    pairs = [(rng.random((8, 8)), box_mask(box, 32, 32))
             for box in np.hstack([corners, corners + 10])]
    found = measure_localization(iter(pairs))
    scores = np.array([average_precision(*pair) for pair in pairs])
    centre = np.array(
        [average_precision(centre_prior(8, 8), mask) for _, mask in pairs])
    assert found.num_images == 12
    assert found.average_precision.mean == pytest.approx(scores.mean())
    assert found.centre_average_precision.mean == pytest.approx(centre.mean())
    gain = found.average_precision_gain
    assert gain.mean == pytest.approx((scores - centre).mean())
    assert gain.standard_error == pytest.approx(
        (scores - centre).std(ddof=1) / 12**0.5)
    scalars = found.as_dict()
    assert scalars['pointing'] == found.pointing.mean
    assert scalars['pointing_se'] == found.pointing.standard_error
    assert len(scalars) == 12


@pytest.mark.parametrize('pairs, message', [
    ([(np.full((4, 4), np.nan), np.ones((8, 8), bool))],
     'saliency_map must be finite, got 16 of 16'),
    ([], 'pairs must hold at least one')])
def test_bad_input(pairs, message):
    with pytest.raises(ValueError, match=message):
        measure_localization(pairs)
