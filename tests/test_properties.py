"""What holds for every plan, crop, order and store, whatever its numbers.

    AMT_MM_EXAMPLES=5000 python -m pytest tests/test_properties.py

looks at many more examples, and at others each time.
"""
from __future__ import annotations

import math
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amt_mm.arguments import check_number
from amt_mm.datasets.transforms import (
    AMTMaskGenerator,
    RandomResizedCropWithBox,
)
from amt_mm.masking import (
    AttentionOrdering,
    AttMaskHighOrdering,
    AttMaskLowOrdering,
    BlockOrdering,
    GridOrdering,
    LinearSchedule,
    MaskPlan,
    RandomOrdering,
    ShowHints,
    Strategy,
    ThrowLow,
    ThrowMiddle,
    ThrowRandom,
    TokenCounts,
    count_tokens,
)
from amt_mm.saliency import (
    SaliencyStore,
    SaliencyStoreError,
    compose,
    crop_map,
    fingerprint,
    flip_box,
    reduce_heads,
)
from amt_mm.saliency.geometry import WHOLE, Box

EXAMPLES = os.environ.get('AMT_MM_EXAMPLES')
holds = settings(
    max_examples=int(EXAMPLES or 60), derandomize=EXAMPLES is None,
    deadline=None, database=None)

MASKED, THROWN, VISIBLE = 1, -1, 0
FLIPS = (None, 'horizontal', 'vertical', 'diagonal')

# ---- examples

percents = st.integers(0, 99)
roundings = st.sampled_from(['floor', 'ceil'])
grids = st.tuples(st.integers(1, 9), st.integers(1, 9))
flips = st.sampled_from(FLIPS)
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1, allow_subnormal=False)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def boxes(draw: Callable) -> Box:
    """Boxes of an area in [0, 1]."""
    sides = []
    for _ in range(2):
        start = draw(floats(0, 0.99))
        sides.append((start, start + draw(floats(0.005, 1)) * (1 - start)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def maps(grid: tuple[int, int] | None = None,
         values: st.SearchStrategy = shares) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, grid or grids, elements=values)


def weights() -> st.SearchStrategy[np.ndarray]:
    """Weights of every size, many of them zero or alike."""
    sizes = st.sampled_from([0., 1e-300, 1e-12, 1., 3., 1e12, 1e300])
    return st.one_of(maps(values=sizes), maps(), maps(values=st.just(0.)),
                     maps(values=floats(0, 1e300)))


@st.composite
def counts(draw: Callable, num: int | None = None) -> TokenCounts:
    """Counts of at least one masked and one visible token."""
    num = num or draw(st.integers(2, 60))
    masked = draw(st.integers(1, num - 1))
    thrown = draw(st.integers(0, num - 1 - masked))
    return TokenCounts(masked, thrown, num - masked - thrown)


@st.composite
def batches(draw: Callable) -> np.ndarray:
    """Flags (B, h, w) whose images have one number of each role."""
    grid = draw(grids.filter(lambda grid: math.prod(grid) > 1))
    roles = np.repeat(np.array([MASKED, THROWN, VISIBLE], np.int8),
                      draw(counts(math.prod(grid))))
    rng = np.random.default_rng(draw(seeds))
    return np.stack([rng.permutation(roles).reshape(grid)
                     for _ in range(draw(st.integers(1, 4)))])


def flipped(array: np.ndarray, direction: str | None) -> np.ndarray:
    if direction in ('horizontal', 'diagonal'):
        array = array[:, ::-1]
    if direction in ('vertical', 'diagonal'):
        array = array[::-1]
    return array


def near(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


# ---- counts


@holds
@given(st.integers(1, 2000), percents, percents, roundings)
@example(49, 44, 26, 'ceil')
@example(100, 29, 0, 'floor')
def test_counts_obey_their_rounding(num, r, t, rounding):
    try:
        found = count_tokens(num, r / 100, t / 100, rounding)
    except ValueError:
        found = None
    if rounding == 'floor':
        masked = num * r // 100
        thrown = num * (r + t) // 100 - masked
    else:
        masked, thrown = -(-num * r // 100), -(-num * t // 100)
    visible = num - masked - thrown
    is_right = r + t < 100 and masked >= 1 and visible >= 1
    assert found == ((masked, thrown, visible) if is_right else None)


@holds
@given(st.integers(2, 500), floats(0.01, 0.98), floats(0.01, 0.98),
       roundings)
def test_a_higher_ratio_never_masks_less(num, one, other, rounding):
    low, high = sorted((one, other))
    try:
        more = count_tokens(num, high, rounding=rounding)
        less = count_tokens(num, low, rounding=rounding)
    except ValueError:
        return
    assert less.masked <= more.masked
    assert abs(more.masked - num * Fraction(str(high))) < 1


# ---- plans


@holds
@given(batches())
def test_a_plan_parts_the_grid(flags):
    plan = MaskPlan.from_flags(flags)
    assert plan.grid == flags.shape[1:]
    for row, (visible, masked) in zip(
            flags.reshape(len(flags), -1),
            zip(plan.ids_visible.tolist(), plan.ids_masked.tolist(),
                strict=True), strict=True):
        assert visible == sorted(set(visible))
        assert masked == sorted(set(masked))
        again = np.full(plan.num_tokens, THROWN)
        again[visible] = VISIBLE
        assert (again[masked] == THROWN).all()
        again[masked] = MASKED
        assert (again == row).all()


@holds
@given(batches(), seeds)
def test_a_batch_of_unlike_counts_is_refused(flags, seed):
    assume(len(flags) > 1)
    rng = np.random.default_rng(seed)
    image, row, column = (rng.integers(n) for n in flags.shape)
    flags[image, row, column] = (flags[image, row, column] + 2) % 3 - 1
    with pytest.raises(ValueError, match='the same number of'):
        MaskPlan.from_flags(flags)


@holds
@given(batches(), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_patches_come_back_where_they_were(flags, side, channels, is_masked):
    plan = MaskPlan.from_flags(flags)
    ids = plan.ids_masked if is_masked else plan.ids_visible
    size = [n * side for n in plan.grid]
    images = torch.arange(len(flags) * channels * math.prod(size)).view(
        len(flags), channels, *size).float()
    patches = plan.patches(images, ids)
    assert patches.shape == (*ids.shape, channels, side, side)
    assert plan.paste(images, ids, patches).equal(images)
    pasted = plan.paste(images, ids, -1 - patches)
    assert plan.patches(pasted, ids).equal(-1 - patches)
    role = MASKED if is_masked else VISIBLE
    there = torch.from_numpy(flags == role).repeat_interleave(
        side, 1).repeat_interleave(side, 2)[:, None].expand_as(images)
    assert (pasted < 0).equal(there)
    assert pasted[~there].equal(images[~there])


# ---- crops and flips


def integral(saliency: np.ndarray, box: Box) -> float:
    """Integrate a step function by its sums up to each corner."""
    h, w = saliency.shape
    table = np.pad(saliency, ((1, 0), (1, 0))).cumsum(0).cumsum(1)

    def up_to(x: float, y: float) -> float:
        row = [np.interp(x * w, np.arange(w + 1), line) for line in table]
        return np.interp(y * h, np.arange(h + 1), row)

    left, top, right, bottom = box
    return (up_to(right, bottom) - up_to(left, bottom) - up_to(right, top)
            + up_to(left, top))


@holds
@given(maps(), boxes(), flips, grids)
def test_a_crop_keeps_the_mass_of_its_box(saliency, box, flip, size):
    crop = crop_map(saliency, box, flip, size)
    assert crop.shape == size and (crop >= -1e-12).all()
    near(crop.sum(), integral(saliency, box))


@holds
@given(maps(), boxes(), grids, floats(0.1, 0.9))
def test_the_parts_of_a_crop_add_up(saliency, box, size, share):
    left, top, right, bottom = box
    middle = left + share * (right - left)
    parts = [crop_map(saliency, (a, top, b, bottom), size=size).sum()
             for a, b in ((left, middle), (middle, right))]
    near(sum(parts), crop_map(saliency, box, size=size).sum())
    halves = [crop_map(saliency, compose(box, half), size=size)
              for half in ((0., 0., 1., .5), (0., .5, 1., 1.))]
    near(np.concatenate(halves),
         crop_map(saliency, box, size=(2 * size[0], size[1])))


@holds
@given(maps(), boxes(), flips, grids, st.integers(1, 4))
def test_a_patch_is_the_sum_of_its_parts(saliency, box, flip, size, n):
    fine = crop_map(saliency, box, flip, (n * size[0], n * size[1]))
    blocks = fine.reshape(size[0], n, size[1], n).sum((1, 3))
    near(blocks, crop_map(saliency, box, flip, size))


@holds
@given(maps(), boxes(), flips, grids)
def test_flip_and_crop_commute(saliency, box, flip, size):
    crop = crop_map(saliency, box, flip, size)
    near(crop, flipped(crop_map(saliency, box, None, size), flip))
    near(crop, crop_map(flipped(saliency, flip), flip_box(box, flip), None,
                        size))
    near(flip_box(flip_box(box, flip), flip), box)


@holds
@given(maps())
def test_the_whole_map_on_its_own_grid_is_itself(saliency):
    near(crop_map(saliency), saliency)


@holds
@given(boxes(), boxes(), boxes())
def test_crops_of_crops_are_associative(one, two, three):
    near(compose(compose(one, two), three), compose(one, compose(two, three)))
    assert compose(WHOLE, one) == one
    near(compose(one, WHOLE), one)
    inner = np.array(compose(one, two)).reshape(2, 2)
    outer = np.array(one).reshape(2, 2)
    assert (inner[0] >= outer[0] - 1e-12).all()
    assert (inner[1] <= outer[1] + 1e-12).all()


@holds
@given(st.integers(1, 80), st.integers(1, 80), st.integers(2, 40),
       floats(0.05, 1), seeds)
def test_the_box_of_a_crop_is_what_was_cut_out(height, width, scale, least,
                                               seed):
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([rows, columns, rows], -1)
    np.random.seed(seed)
    crop = RandomResizedCropWithBox(
        scale, crop_ratio_range=(least, 1.), interpolation='nearest')
    results = crop.transform(dict(img=image))
    left, top, right, bottom = results['crop_box']
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert results['img'].shape == (scale, scale, 3)
    for channel, low, high, side in ((0, top, bottom, height),
                                     (1, left, right, width)):
        found = results['img'][..., channel]
        assert found.min() == pytest.approx(low * side)
        assert found.max() <= high * side - 1 + 1e-9


# ---- orderings and layouts

ORDERINGS: tuple[Any, ...] = (
    AttentionOrdering(), AttentionOrdering(temperature=2., uniform_mix=0.3),
    AttentionOrdering(temperature=1e-3), AttentionOrdering(temperature=1e300),
    AttentionOrdering(temperature=1e-300), AttMaskHighOrdering(),
    AttMaskLowOrdering(), BlockOrdering(), BlockOrdering(3, 1.),
    GridOrdering(), RandomOrdering())
LAYOUTS: tuple[Any, ...] = (
    ThrowMiddle(), ThrowLow(), ThrowRandom(), ShowHints(),
    ShowHints(1., 0.5, dict(type='amt_mm.ThrowLow')),
    ShowHints(0.5, 0.3, dict(type='amt_mm.ShowHints', top_ratio=0.1)))


@holds
@given(weights(), st.sampled_from(ORDERINGS), shares, seeds)
def test_an_ordering_is_a_permutation(weights_hw, ordering, share, seed):
    np.random.seed(seed)
    order = ordering(weights_hw, round(share * weights_hw.size))
    assert sorted(order.tolist()) == list(range(weights_hw.size))


@holds
@given(weights(), seeds)
def test_attmask_sorts(weights_hw, seed):
    np.random.seed(seed)
    for ordering, sign in ((AttMaskHighOrdering(), 1),
                           (AttMaskLowOrdering(), -1)):
        ranked = sign * weights_hw.ravel()[ordering(weights_hw, 1)]
        assert (ranked[:-1] >= ranked[1:]).all()


@holds
@given(maps(values=st.one_of(st.just(0.), floats(1e-6, 1.))),
       floats(1e-6, 1e6), floats(1e-3, 1e3), floats(0, 0.99))
def test_odds_are_of_the_ratios_alone(weights_hw, factor, temperature, mix):
    ordering = AttentionOrdering(temperature, mix)
    weights_L = weights_hw.ravel()
    odds = ordering.probabilities(weights_L)
    near(odds.sum(), 1)
    assert (odds >= mix / len(odds) - 1e-12).all()
    near(ordering.probabilities(factor * weights_L), odds)
    # who has the more weight is not the less likely
    assert (np.diff(odds[np.argsort(weights_L)]) >= -1e-12).all()


@holds
@given(counts(), st.sampled_from(LAYOUTS), seeds)
def test_a_layout_gives_exact_counts(numbers, layout, seed):
    np.random.seed(seed)
    try:
        flags = layout(numbers)
    except ValueError as error:
        assert isinstance(layout, ShowHints) and 'hints' in str(error)
        return
    assert flags.dtype == np.int8 and len(flags) == sum(numbers)
    found = [int((flags == role).sum()) for role in (MASKED, THROWN, VISIBLE)]
    assert tuple(found) == numbers
    if not isinstance(layout, ShowHints):
        assert (flags[:numbers.masked] == MASKED).all()


@holds
@given(weights(), st.data(), st.sampled_from(ORDERINGS),
       st.sampled_from(LAYOUTS[:3]), seeds)
def test_a_strategy_masks_the_first_of_its_order(weights_hw, data, ordering,
                                                 layout, seed):
    assume(weights_hw.size > 1)
    numbers = data.draw(counts(weights_hw.size))
    np.random.seed(seed)
    first = ordering(weights_hw, numbers.masked)[:numbers.masked]
    np.random.seed(seed)
    flags = Strategy(numbers, ordering, layout).plan(weights_hw)
    assert flags.shape == weights_hw.shape
    assert set(np.flatnonzero(flags == MASKED)) == set(first)
    assert (flags == THROWN).sum() == numbers.thrown


# ---- schedules


@holds
@given(floats(-1e6, 1e6), floats(-1e6, 1e6), st.integers(0, 500),
       st.integers(1, 500), st.lists(st.integers(0, 1200), min_size=2))
def test_a_schedule_stays_between_its_ends(start, end, begin, length, epochs):
    schedule = LinearSchedule(start, end, begin + length, begin)
    values = [schedule.at(epoch) for epoch in sorted(epochs)]
    low, high = sorted((round(start, 9), round(end, 9)))
    assert all(low <= value <= high for value in values)
    steps = np.diff(values) * np.sign(end - start)
    assert (steps >= -1e-9).all()
    assert schedule.at(begin) == pytest.approx(start, abs=1e-9)
    assert schedule.at(begin + length) == pytest.approx(end, abs=1e-9)


# ---- the mask generator

RATIOS = dict(mask_ratio=0.4, throw_ratio=0.3, warmup_mask_ratio=0.6)


class Maps:
    """A store of one map."""

    def __init__(self, saliency: np.ndarray | None) -> None:
        self.saliency = saliency

    def read(self, index: int) -> np.ndarray | None:
        return self.saliency


@holds
@given(st.tuples(st.integers(2, 6), st.integers(3, 6)), st.integers(1, 4),
       st.integers(1, 8), roundings, maps(), boxes(), flips,
       st.sampled_from(['AttentionOrdering', 'AttMaskHighOrdering']), seeds)
def test_the_generator_does_what_it_says(
        cells, scale, side, rounding, saliency, box, flip, ordering, seed):
    generator = AMTMaskGenerator(
        [n * scale * side for n in cells], side, cell_size=scale * side,
        rounding=rounding, ordering=dict(type=f'amt_mm.{ordering}'), **RATIOS)
    generator.store = Maps(saliency.astype(np.float16))
    results = dict(sample_idx=0, crop_box=box, flip_direction=flip)
    np.random.seed(seed)
    plan = generator.transform(dict(results))
    tokens = cells[0] * scale, cells[1] * scale
    assert plan['mask_plan'].shape == plan['saliency'].shape == tokens
    flags = plan['mask_plan'][::scale, ::scale]
    per_token = flags.repeat(scale, 0).repeat(scale, 1)
    assert (plan['mask_plan'] == per_token).all()
    expected = count_tokens(math.prod(cells), 0.4, 0.3, rounding)
    found = [int((flags == role).sum()) for role in (MASKED, THROWN, VISIBLE)]
    assert tuple(found) == expected
    seen = plan['saliency'][::scale, ::scale]
    near(seen, np.float32(crop_map(
        np.float64(generator.store.saliency), box, flip, cells)))
    if ordering == 'AttMaskHighOrdering':
        # to rank equal weights is up to chance
        assert seen[flags == MASKED].min() >= seen[flags != MASKED].max()
    np.random.seed(seed)
    again = generator.transform(dict(results))
    assert (again['mask_plan'] == plan['mask_plan']).all()


@holds
@given(st.tuples(st.integers(2, 6), st.integers(3, 6)), roundings, seeds)
def test_without_maps_the_warmup_counts(cells, rounding, seed):
    generator = AMTMaskGenerator(
        [4 * n for n in cells], 4, rounding=rounding, **RATIOS)
    generator.store = Maps(None)
    np.random.seed(seed)
    results = generator.transform(dict(sample_idx=0))
    flags = results['mask_plan']
    found = [int((flags == role).sum()) for role in (MASKED, THROWN, VISIBLE)]
    assert tuple(found) == count_tokens(flags.size, 0.6, 0., rounding)
    assert 'saliency' not in results


# ---- saliency


@holds
@given(hnp.arrays(np.float32, (2, 3, 6), elements=st.floats(
    0, 1, width=32, allow_subnormal=False)),
    st.sampled_from(['mean_then_scale', 'scale_then_mean']))
def test_saliency_is_in_0_1_and_keeps_the_rank(attention, reduction):
    found = reduce_heads(torch.from_numpy(attention), reduction)
    assert found.shape == (2, 6)
    assert (found >= 0).all() and (found <= 1).all()
    # where all heads agree on a token, so does the map
    least = (attention == attention.min(-1, keepdims=True)).all(1)
    assert (found[torch.from_numpy(least)] <= 1e-6).all()


# ---- the store


def fill(data: st.DataObject, store: SaliencyStore) -> np.ndarray:
    seed = data.draw(seeds)
    return np.random.default_rng(seed).random((store.num_images, *store.grid))


def make_store(root: str, number: int, grid: tuple[int, int]) -> SaliencyStore:
    store = SaliencyStore(Path(root) / 'maps', number, grid, 'id')
    store.reset()
    return store


@holds
@given(st.integers(1, 20), grids, st.data())
def test_what_is_written_is_read(number, grid, data):
    with tempfile.TemporaryDirectory() as root:
        store = make_store(root, number, grid)
        reader = SaliencyStore(store.root, number, grid, 'id')
        assert reader.read(0) is None and store.generation is None
        maps = fill(data, store)
        store.write(3, maps)
        store.verify(3)
        for one in (store, reader, pickle.loads(pickle.dumps(reader))):
            for index in range(number):
                assert (one.read(index) == maps[index].astype('f2')).all()


@holds
@given(st.data(), st.integers(1, 3), st.lists(
    st.integers(0, 400), min_size=1, max_size=5, unique=True))
def test_readers_see_the_generation_in_use(data, keep, generations):
    with tempfile.TemporaryDirectory() as root:
        store = make_store(root, 2, (2, 3))
        reader = SaliencyStore(store.root, 2, (2, 3), 'id')
        written: dict[int, np.ndarray] = {}
        for generation in generations:
            written[generation] = fill(data, store)
            store.write(generation, written[generation], keep)
            assert store.generation == generation
            near(reader.read(1), written[generation][1].astype('f2'))
        held = store.generations
        assert held == sorted(held) and generations[-1] in held
        assert len(held) <= keep + 1
        assert generations != sorted(generations) or \
            held == generations[-keep:]
        chosen = data.draw(st.sampled_from([None, *held]))
        store.activate(chosen)
        assert reader.generation == store.generation == chosen
        found = reader.read(0)
        assert found is None if chosen is None else (
            found == written[chosen][0].astype('f2')).all()
        for gone in set(generations) - set(held):
            with pytest.raises(SaliencyStoreError):
                store.activate(gone)


@holds
@given(st.integers(1, 6), grids, st.integers(1, 6), grids, st.booleans())
def test_a_store_serves_its_own_data_set_alone(number, grid, other_number,
                                               other_grid, is_same):
    with tempfile.TemporaryDirectory() as root:
        store = make_store(root, number, grid)
        store.write(1, np.zeros((number, *grid)))
        other = SaliencyStore(store.root, other_number, other_grid,
                              'id' if is_same else 'other')
        if (number, grid, is_same) == (other_number, other_grid, True):
            assert (other.read(0) == 0).all()
            return
        with pytest.raises(SaliencyStoreError, match='another data set'):
            other.read(0)


@holds
@given(st.lists(st.text('a/\u00e9\ud800', max_size=3), max_size=4),
       st.lists(st.text('a/\u00e9\ud800', max_size=3), max_size=4))
@example(['a', 'a'], ['aa'])
@example(['a', ''], ['a'])
def test_a_fingerprint_tells_lists_apart(one, other):
    assume('\ud800' not in ''.join([*one, *other]))
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


# ---- arguments


@holds
@given(st.one_of(st.floats(), st.integers(), st.integers(10**300, 10**400)),
       st.sampled_from(['[0, 1)', '(0, 1]', '(0, inf)', '(-inf, inf)']))
@example(10**400, '(0, inf)')
@example(math.nan, '(-inf, inf)')
def test_numbers_pass_where_they_are_in_bounds(value, bounds):
    low, high = map(float, bounds[1:-1].split(','))
    is_inside = low < value < high or (value == low and bounds[0] == '[') or (
        value == high and bounds[-1] == ']')
    # what no float can hold is none of them
    is_inside = is_inside and abs(value) <= sys.float_info.max
    if is_inside:
        assert check_number('x', value, bounds) == value
        return
    with pytest.raises(ValueError, match=r'x must be in [\[(]'):
        check_number('x', value, bounds)
