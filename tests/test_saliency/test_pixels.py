"""Saliency from pixels alone."""

from __future__ import annotations

import numpy as np
import pytest

from amt_mm.saliency.pixels import (
    FAR,
    FLOOR,
    NEIGHBOURS,
    PIXEL_METHODS,
    REACH,
    SIGMA,
    describe_grid,
    mean_colours,
    pixel_saliency,
    similarity,
    spread,
)

GRIDS = [(14, 14), (5, 9), (3, 2), (1, 1)]


def scene(grid=(8, 8), cell=8, channels=3, dtype=np.uint8, seed=0,
          box=(2, 2, 5, 5)):
    """Draw a noisy square of cells (y1, x1, y2, x2) on a noisy ground."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(grid, bool)
    inside[box[0]:box[2], box[1]:box[3]] = True
    pixels = inside.repeat(cell, 0).repeat(cell, 1)[..., None]
    noise = rng.normal(0, 0.02, (*pixels.shape[:2], channels))
    image = np.where(pixels, np.linspace(.8, .4, channels), .25) + noise
    if np.issubdtype(dtype, np.integer):
        image = image * np.iinfo(dtype).max
    return image.clip(0, None).astype(dtype), inside


@pytest.mark.parametrize('method', ['rbd', 'geodesic'])
@pytest.mark.parametrize('channels, dtype', [
    (1, np.uint16), (3, np.uint8), (4, np.float32)])
def test_an_object_stands_out(method, channels, dtype):
    image, inside = scene(channels=channels, dtype=dtype)
    found = pixel_saliency(image, (8, 8), method, 0.)
    assert found[inside].min() > 2 * found[~inside].max()


@pytest.mark.parametrize('method', PIXEL_METHODS)
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('shape', [(64, 64, 3), (31, 90), (5, 4, 3)])
def test_any_grid_and_image(method, grid, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = pixel_saliency(image, grid, method)
    assert found.shape == grid and found.dtype == np.float32
    assert found.min() >= np.float32(FLOOR) and found.max() <= 1


@pytest.mark.parametrize('method', PIXEL_METHODS)
def test_images_that_say_nothing(method):
    """One colour has a constant map, and what is not finite has none."""
    for value in (0, 255):
        image = np.full((64, 64, 3), value, np.uint8)
        found = pixel_saliency(image, (8, 8), method)
        assert (found == np.float32(FLOOR)).all()
    for value in (np.nan, np.inf):
        image, _ = scene(dtype=np.float32)
        image[20, 20] = value
        assert np.isnan(pixel_saliency(image, (8, 8), method)).all()


def test_what_joins_the_border_is_background():
    """Two squares of a colour: the one at the border counts less."""
    image, _ = scene(box=(3, 3, 6, 6))
    image[:24, :24] = image[24:48, 24:48]
    found = pixel_saliency(image, (8, 8), 'rbd', 0.)
    assert found[4, 4] == 1 and found[1, 1] < 0.5


def test_the_centre_prior_is_a_power():
    image, _ = scene()
    plain, once, twice = (
        pixel_saliency(image, (8, 8), centre_weight=n) - np.float32(FLOOR)
        for n in (0., 1., 2.))
    np.testing.assert_allclose(once * once, plain * twice, atol=1e-6)
    assert once[0, 0] < plain[0, 0] and twice[0, 0] < once[0, 0]


def test_spread_is_the_standard_deviation():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    expected = image.reshape(3, 8, 4, 8, 3).std((1, 3))
    np.testing.assert_allclose(spread(image, (3, 4)), expected, rtol=1e-3)
    found = pixel_saliency(image, (3, 4), 'detail', 0.)
    assert found.argmax() == expected.mean(2).argmax()


def shortest_ways(edges):
    """Return all shortest ways in float64."""
    for via in range(len(edges)):
        edges = np.minimum(edges, edges[:, via, None] + edges[via])
    return edges


def test_similarity_is_that_of_the_shortest_way():
    cells = np.random.default_rng(0).random((48, 3)) * 25
    distance = np.linalg.norm(cells[:, None] - cells, axis=2)
    rows, columns, *_ = describe_grid(6, 8)
    edges = np.full_like(distance, np.inf)
    edges[rows, columns] = distance[rows, columns]
    np.fill_diagonal(edges, 0)
    expected = np.exp(-shortest_ways(edges)**2 / (2 * SIGMA**2))
    # each of a few steps is off by half of a level at most
    np.testing.assert_allclose(
        similarity(distance, rows, columns), expected,
        atol=3 * REACH / FAR / SIGMA)


def test_geodesic_distance_is_that_of_the_shortest_way():
    image = np.random.default_rng(0).integers(0, 256, (48, 56, 3), np.uint8)
    cells = np.concatenate([mean_colours(image, (6, 7)),
                            spread(image, (6, 7)) / 2.55], 2)
    cells = np.pad(cells, ((1, 1), (1, 1), (0, 0)), mode='edge')
    edges = np.full((8, 9, 8, 9), np.inf)
    for y, x in NEIGHBOURS:
        for row in range(1, 7):
            for column in range(1, 8):
                other = row + y - 1, column + x - 1
                edges[row, column][other] = np.linalg.norm(
                    cells[row, column] - cells[other])
    border = np.ones((8, 9), bool)
    border[1:-1, 1:-1] = False
    ways = shortest_ways(edges.reshape(72, 72))[:, border.ravel()].min(1)
    np.testing.assert_allclose(
        PIXEL_METHODS['geodesic'](image, (6, 7)),
        ways.reshape(8, 9)[1:-1, 1:-1], rtol=1e-4)
