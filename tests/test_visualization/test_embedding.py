"""Where thumbnails are put."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from amt_mm.visualization import (
    PROJECTIONS,
    check_projection,
    draw_embedding,
    project,
)

CORNERS = np.array([[0, 0], [0, 1], [3, 0], [3, 1.]])


@pytest.mark.parametrize('name', PROJECTIONS)
def test_what_is_alike_is_near(name):
    if not importlib.util.find_spec(PROJECTIONS[name][0]):
        with pytest.raises(ModuleNotFoundError, match='pip install '
                           f'{PROJECTIONS[name][1]}$'):
            check_projection(name)
        return
    check_projection(name)
    # two clusters of 20 features, far apart
    features = np.random.default_rng(0).normal(size=(40, 16)).astype('f4')
    features[20:, 5] += 50
    places = project(features, name)
    assert places.shape == (40, 2)
    first, second = places[:20], places[20:]
    spread = max(np.ptp(first, 0).max(), np.ptp(second, 0).max())
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > spread
    assert np.array_equal(places, project(features, name))


def test_principal_components():
    """The first is the axis of the largest variance."""
    turned = CORNERS @ np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0]])
    places = project(turned + 7, 'pca')
    assert np.allclose(np.abs(places), [[1.5, 0.5]] * 4)
    assert np.allclose(places.sum(0), 0)
    with pytest.raises(ValueError, match='pca needs at least 3 images, got 2'):
        project(turned[:2], 'pca')


def test_thumbnails_lie_in_the_corners():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 9)]
    tiles = [np.full((40, 60, 3), c, np.uint8) for c in colours]
    picture = draw_embedding(CORNERS, tiles)
    assert picture.shape == (1600, 1600, 3)
    # the second axis points upwards
    for (x, y), colour in zip([(0, 1), (0, 0), (1, 1), (1, 0)], colours,
                              strict=True):
        left, top = np.array([x, y]) * (1600 - 24 - 60) + 12
        assert (picture[top:top + 40, left:left + 60] == colour).all()
    assert (picture != 255).any(2).sum() == 4 * 40 * 60
    # those at one place, too
    same = draw_embedding(np.zeros((4, 2)), tiles)
    assert (same != 255).any(2).sum() == 40 * 60
