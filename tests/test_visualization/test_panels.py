"""Pictures of the plan: pixels of every tile, and the layout."""
from __future__ import annotations

import numpy as np
import pytest

from amt_mm.masking.plan import MASKED, THROWN, UNPREDICTED, VISIBLE
from amt_mm.visualization import Panel, draw_sheet
from amt_mm.visualization.panels import (
    GREY,
    GREY_EDGE,
    draw_plan,
    draw_saliency,
    enlarge,
    legend_entries,
    spread,
)

IMAGE = np.random.default_rng(0).integers(256, size=(64, 96, 3),
                                          dtype=np.uint8)
PLAN = np.array([[VISIBLE, MASKED, THROWN], [THROWN, VISIBLE, MASKED]],
                np.int8)
INNER = 255 - IMAGE


def panel(height=64, width=64, grid=8, reconstruction=True):
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    plan = rng.choice([VISIBLE, MASKED, THROWN], (grid, grid)).astype(np.int8)
    return Panel(image, rng.random((grid, grid)), plan,
                 255 - image if reconstruction else None)


def cell(picture, row, column, side=32):
    return picture[row * side:(row + 1) * side,
                   column * side:(column + 1) * side]


def test_roles_are_told_apart_by_grey_values():
    picture = draw_plan(IMAGE, PLAN)
    for place in ((0, 0), (1, 1)):
        assert (cell(picture, *place) == cell(IMAGE, *place)).all()
    masked, thrown = cell(picture, 0, 1), cell(picture, 0, 2)
    assert (masked[1:, 1:] == GREY).all()
    assert (masked[0] > GREY).all() and (masked[:, 0] > GREY).all()
    assert len(np.unique(thrown)) == 2 and thrown.mean() < 60
    assert masked[1:, 1:].min() - thrown.max() >= 30
    # lines run diagonally: constant along x + y, not along a row
    np.testing.assert_array_equal(thrown[1:, :-1], thrown[:-1, 1:])
    assert thrown[0].std() > 10
    # a reconstruction covers the masked patches only
    covered = draw_plan(IMAGE, PLAN, INNER)
    for place, expected in (((0, 1), INNER), ((0, 0), IMAGE),
                            ((0, 2), picture)):
        assert (cell(covered, *place) == cell(expected, *place)).all()


def test_what_is_not_predicted_is_grey_and_hatched():
    """With a reconstruction and without; a legend names it where it is."""
    some = PLAN.copy()
    some[0, 1] = UNPREDICTED
    pictures = draw_plan(IMAGE, some), draw_plan(IMAGE, some, INNER)
    for picture in pictures:
        own = cell(picture, 0, 1)
        assert set(np.unique(own)) == {GREY, GREY_EDGE}
        np.testing.assert_array_equal(own[1:-1, 2:], own[2:, 1:-1])
        assert own[1:, 1:].std() > 10
    assert (cell(pictures[1], 1, 2) == cell(INNER, 1, 2)).all()
    names = [[text for _, text in legend_entries(
        [Panel(IMAGE, np.zeros((2, 3)), plan)])[1:]] for plan in (PLAN, some)]
    assert names == [
        ['masked 33 %', 'thrown 33 %', 'visible 33 %'],
        ['masked 17 %', 'thrown 33 %', 'visible 33 %',
         'masked, not predicted 17 %']]


def test_saliency_is_brightest_where_the_map_is():
    image = np.full((32, 32, 3), 100, np.uint8)
    saliency_map = np.array([[0, 0.3], [0.6, 1]], np.float16)
    picture = draw_saliency(image, saliency_map)
    means = [cell(picture, y, x, 16).mean() for y in (0, 1) for x in (0, 1)]
    assert means == sorted(means) and means[3] - means[0] > 80
    # the image stays to be seen under the map
    image[:16, :16] = 200
    assert cell(draw_saliency(image, saliency_map), 0, 0, 16).mean() > (
        means[0] + 30)


def test_spread_splits_uneven_sizes():
    counts = np.bincount(spread(np.arange(6).reshape(2, 3), (7, 10)).ravel())
    assert counts.tolist() == [16, 12, 12, 12, 9, 9]


@pytest.mark.parametrize('height, width, reconstruction', [
    (224, 224, True), (48, 96, False), (300, 500, True), (256, 16, False)])
def test_sheet_holds_the_enlarged_image(height, width, reconstruction):
    own = panel(height, width, 4, reconstruction)
    sheet = draw_sheet([own])
    factor = max(1, 256 // max(height, width))
    assert sheet.dtype == np.uint8
    columns = 4 if reconstruction else 3
    assert sheet.shape[1] >= columns * (width * factor + 12) + 12
    # paper, captions and a margin lie above the first image
    top = 12 + 20 + 12
    assert (sheet[12:28] < 255).any()
    tile = sheet[top:top + height * factor, 12:12 + width * factor]
    np.testing.assert_array_equal(tile, enlarge(own.image, factor))


def test_sheet_stacks_rows_of_any_size():
    panels = [panel(), panel(96, 40, 4), panel(224, 224, 14, False)]
    sheet, single = draw_sheet(panels), draw_sheet(panels[:1])
    assert sheet.shape[1] == single.shape[1]
    assert len(sheet) - len(single) == 2 * 96 + 12 + 224 + 12
