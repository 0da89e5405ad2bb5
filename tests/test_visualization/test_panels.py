"""Pictures of the plan: pixels of every tile, and the layout."""
from __future__ import annotations

import numpy as np
import pytest

from amt_mm.masking.plan import MASKED, THROWN, UNPREDICTED, VISIBLE
from amt_mm.visualization import Panel, draw_panel, draw_sheet
from amt_mm.visualization.panels import (
    GREY,
    GREY_EDGE,
    colour_scale,
    draw_plan,
    draw_saliency,
    enlarge,
    legend_entries,
    spread,
)


def _panel(height: int = 64, width: int = 64, grid: int = 8,
           reconstruction: bool = True) -> Panel:
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    plan = rng.choice([VISIBLE, MASKED, THROWN], (grid, grid)).astype(np.int8)
    return Panel(image, rng.random((grid, grid)), plan,
                 255 - image if reconstruction else None)


def _cell(picture: np.ndarray, row: int, column: int,
          side: int) -> np.ndarray:
    return picture[row * side:(row + 1) * side,
                   column * side:(column + 1) * side]


@pytest.fixture
def roles() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(
        256, size=(64, 96, 3), dtype=np.uint8)
    return image, np.array([[VISIBLE, MASKED, THROWN],
                            [THROWN, VISIBLE, MASKED]], np.int8)


def test_visible_is_the_image_itself(roles) -> None:
    picture = draw_plan(*roles)
    for row, column in ((0, 0), (1, 1)):
        np.testing.assert_array_equal(
            _cell(picture, row, column, 32), _cell(roles[0], row, column, 32))


def test_masked_is_flat_and_thrown_is_hatched(roles) -> None:
    picture = draw_plan(*roles)
    masked, thrown = _cell(picture, 0, 1, 32), _cell(picture, 0, 2, 32)
    assert (masked[1:, 1:] == GREY).all()
    assert (masked[0] > GREY).all() and (masked[:, 0] > GREY).all()
    assert len(np.unique(thrown)) == 2
    # grey values alone tell the roles apart
    assert masked[1:, 1:].min() - thrown.max() >= 30
    assert thrown.mean() < 60
    # lines run diagonally: constant along x + y, not along a row
    np.testing.assert_array_equal(thrown[1:, :-1], thrown[:-1, 1:])
    assert thrown[0].std() > 10


def test_reconstruction_covers_masked_patches_only(roles) -> None:
    image, plan = roles
    inner = 255 - image
    picture = draw_plan(image, plan, inner)
    np.testing.assert_array_equal(
        _cell(picture, 0, 1, 32), _cell(inner, 0, 1, 32))
    np.testing.assert_array_equal(
        _cell(picture, 0, 0, 32), _cell(image, 0, 0, 32))
    np.testing.assert_array_equal(
        _cell(picture, 0, 2, 32), _cell(draw_plan(image, plan), 0, 2, 32))


def test_what_is_not_predicted_is_grey_and_hatched(roles) -> None:
    """With a reconstruction and without; a legend names it where it is."""
    image, plan = roles
    some = plan.copy()
    some[0, 1] = UNPREDICTED
    inner = 255 - image
    for picture in (draw_plan(image, some), draw_plan(image, some, inner)):
        own = _cell(picture, 0, 1, 32)
        assert set(np.unique(own)) == {GREY, GREY_EDGE}
        np.testing.assert_array_equal(own[1:-1, 2:], own[2:, 1:-1])
        assert own[1:, 1:].std() > 10
    np.testing.assert_array_equal(
        _cell(draw_plan(image, some, inner), 1, 2, 32),
        _cell(inner, 1, 2, 32))
    panels = [Panel(image, np.zeros((2, 3)), own) for own in (plan, some)]
    names = [[text for _, text in legend_entries([panel])[1:]]
             for panel in panels]
    assert names == [
        ['masked 33 %', 'thrown 33 %', 'visible 33 %'],
        ['masked 17 %', 'thrown 33 %', 'visible 33 %',
         'masked, not predicted 17 %']]


def test_colour_scale_rises_in_grey() -> None:
    colours = colour_scale(np.linspace(0, 1, 256)[None])
    grey = colours[0].astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > -1).all() and grey[0] < 5 and grey[-1] > 230


def test_saliency_is_brightest_where_the_map_is() -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    saliency_map = np.array([[0, 0.3], [0.6, 1]], np.float16)
    picture = draw_saliency(image, saliency_map)
    means = [_cell(picture, y, x, 16).mean() for y in (0, 1) for x in (0, 1)]
    assert means == sorted(means) and means[3] - means[0] > 80
    # the image stays to be seen under the map
    image[:16, :16] = 200
    assert _cell(draw_saliency(image, saliency_map), 0, 0, 16).mean() > (
        means[0] + 30)


def test_spread_splits_uneven_sizes() -> None:
    grid = np.arange(6).reshape(2, 3)
    counts = np.bincount(spread(grid, (7, 10)).ravel())
    assert counts.tolist() == [16, 12, 12, 12, 9, 9]


def test_enlarge_repeats_pixels() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(image, 3)
    assert large.shape == (6, 6, 3)
    np.testing.assert_array_equal(large[1::3, 1::3], image)
    assert (large[:3, :3] == image[0, 0]).all()


@pytest.mark.parametrize('height, width', [(64, 64), (224, 224), (48, 96),
                                           (300, 500), (32, 8), (256, 16)])
@pytest.mark.parametrize('reconstruction', [True, False])
def test_panel_holds_the_enlarged_image(height: int, width: int,
                                        reconstruction: bool) -> None:
    panel = _panel(height, width, 4, reconstruction)
    picture = draw_panel(panel.image, panel.saliency_map, panel.plan,
                         panel.reconstruction)
    factor = max(1, 256 // max(height, width))
    assert picture.dtype == np.uint8
    columns = 4 if reconstruction else 3
    assert picture.shape[1] >= columns * (width * factor + 12) + 12
    # paper, captions and a margin lie above the first image
    top = 12 + 20 + 12
    tile = picture[top:top + height * factor, 12:12 + width * factor]
    np.testing.assert_array_equal(tile, enlarge(panel.image, factor))


def test_sheet_stacks_rows_of_any_size() -> None:
    panels = [_panel(), _panel(96, 40, 4), _panel(224, 224, 14, False)]
    sheet, single = draw_sheet(panels), draw_sheet(panels[:1])
    assert sheet.shape[1] == single.shape[1]
    assert len(sheet) - len(single) == 2 * 96 + 12 + 224 + 12


def test_legend_states_the_shares() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    first, second = (np.full((2, 2), role) for role in (MASKED, THROWN))
    sheets = [draw_panel(image, np.zeros((2, 2)), p) for p in (first, second)]
    height = 20 + 12
    assert (sheets[0][-height:] != sheets[1][-height:]).any()
    # captions do not depend on the plan
    np.testing.assert_array_equal(sheets[0][:44], sheets[1][:44])


def _with(**changes) -> dict:
    return dict(vars(_panel()), **changes)


@pytest.mark.parametrize('changes, message', [
    (dict(image=np.zeros((8, 8, 3))), 'image must be uint8, got float64'),
    (dict(saliency_map=np.full((2, 2), 1.5)), r'must be in \[0, 1\], got'),
    (dict(saliency_map=np.full((2, 2), np.nan)), r'in \[0, 1\], .* nan'),
    (dict(plan=np.full((2, 2), 7)), r'plan must hold only .* got \[7\]'),
])
def test_bad_panel(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Panel(**_with(**changes))


def test_empty_sheet() -> None:
    with pytest.raises(ValueError, match='at least one panel, got 0'):
        draw_sheet([])
