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


@pytest.fixture
def clusters():
    """Two clusters of 20 features, far apart."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 16)).astype(np.float32)
    features[20:, 5] += 50
    return features


@pytest.mark.parametrize('name', PROJECTIONS)
def test_what_is_alike_is_near(clusters, name):
    if not importlib.util.find_spec(PROJECTIONS[name][0]):
        with pytest.raises(ModuleNotFoundError, match='pip install '
                           f'{PROJECTIONS[name][1]}$'):
            check_projection(name)
        return
    check_projection(name)
    places = project(clusters, name)
    assert places.shape == (40, 2)
    first, second = places[:20], places[20:]
    spread = max(np.ptp(first, 0).max(), np.ptp(second, 0).max())
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > spread
    assert np.array_equal(places, project(clusters, name))


def test_principal_components():
    """The first is the axis of the largest variance."""
    turned = CORNERS @ np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0]])
    places = project(turned + 7, 'pca')
    assert np.allclose(np.abs(places), [[1.5, 0.5]] * 4)
    assert np.allclose(places.sum(0), 0)


def test_too_few():
    with pytest.raises(ValueError, match='pca needs at least 3 images, got 2'):
        project(np.zeros((2, 4)), 'pca')


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


def test_equal_places_are_drawn():
    picture = draw_embedding(np.zeros((3, 2)), [
        np.zeros((9, 9, 3), np.uint8)] * 3)
    assert (picture != 255).any(2).sum() == 81
