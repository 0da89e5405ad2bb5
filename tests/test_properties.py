"""What holds for every crop, order, layout and store, whatever its numbers.

    AMT_MM_EXAMPLES=5000 python -m pytest tests/test_properties.py

looks at many more examples, and at others each time.
"""
from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amt_mm.masking import (
    MASKED,
    THROWN,
    VISIBLE,
    AttentionOrdering,
    AttMaskHighOrdering,
    AttMaskLowOrdering,
    BlockOrdering,
    GridOrdering,
    RandomOrdering,
    ShowHints,
    Strategy,
    ThrowLow,
    ThrowMiddle,
    ThrowRandom,
    TokenCounts,
)
from amt_mm.saliency import (
    SaliencyStore,
    SaliencyStoreError,
    compose,
    crop_map,
    flip_box,
)
from amt_mm.saliency.geometry import WHOLE, Box

EXAMPLES = os.environ.get('AMT_MM_EXAMPLES')
holds = settings(
    max_examples=int(EXAMPLES or 60), derandomize=EXAMPLES is None,
    deadline=None, database=None)

# ---- examples

grids = st.tuples(st.integers(1, 9), st.integers(1, 9))
flips = st.sampled_from([None, 'horizontal', 'vertical', 'diagonal'])
seeds = st.integers(0, 2**32 - 1)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


shares = floats(0, 1)


@st.composite
def boxes(draw: Callable) -> Box:
    """Boxes of an area in [0, 1]."""
    sides = []
    for _ in range(2):
        start = draw(floats(0, 0.99))
        sides.append((start, start + draw(floats(0.005, 1)) * (1 - start)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def maps(values: st.SearchStrategy = shares) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, grids, elements=values)


def weights() -> st.SearchStrategy[np.ndarray]:
    """Weights of every size, many of them zero or alike."""
    sizes = st.sampled_from([0., 1e-300, 1e-12, 1., 3., 1e12, 1e300])
    return st.one_of(
        maps(sizes), maps(), maps(st.just(0.)), maps(floats(0, 1e300)))


@st.composite
def counts(draw: Callable, num: int | None = None) -> TokenCounts:
    """Counts of at least one masked and one visible token."""
    num = num or draw(st.integers(2, 60))
    masked = draw(st.integers(1, num - 1))
    thrown = draw(st.integers(0, num - 1 - masked))
    return TokenCounts(masked, thrown, num - masked - thrown)


def near(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


# ---- crops and flips


def flipped(array: np.ndarray, direction: str | None) -> np.ndarray:
    if direction in ('horizontal', 'diagonal'):
        array = array[:, ::-1]
    if direction in ('vertical', 'diagonal'):
        array = array[::-1]
    return array


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
def test_each_token_of_a_crop_is_the_integral_over_it(saliency, box, flip,
                                                      size):
    h, w = size
    expected = np.array([
        [integral(saliency, compose(
            box, (x / w, y / h, (x + 1) / w, (y + 1) / h))) for x in range(w)]
        for y in range(h)])
    crop = crop_map(saliency, box, flip, size)
    near(crop, flipped(expected, flip))
    near(crop, crop_map(flipped(saliency, flip), flip_box(box, flip), None,
                        size))
    near(crop_map(saliency), saliency)


@holds
@given(boxes(), boxes(), boxes())
def test_crops_of_crops_are_associative(one, two, three):
    near(compose(compose(one, two), three), compose(one, compose(two, three)))
    assert compose(WHOLE, one) == one
    near(compose(one, WHOLE), one)


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
    before = weights_hw.copy()
    order = ordering(weights_hw, round(share * weights_hw.size))
    assert sorted(order.tolist()) == list(range(weights_hw.size))
    np.testing.assert_array_equal(weights_hw, before)


@holds
@given(maps(st.one_of(st.just(0.), floats(1e-6, 1.))), floats(1e-6, 1e6),
       floats(1e-3, 1e3), floats(0, 0.99))
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


# ---- the store


@holds
@given(st.data(), st.integers(1, 3), st.lists(
    st.integers(0, 400), min_size=1, max_size=5, unique=True))
def test_readers_see_the_generation_in_use(data, keep, generations):
    rng = np.random.default_rng(data.draw(seeds))
    with tempfile.TemporaryDirectory() as root:
        store, reader = (SaliencyStore(Path(root) / 'maps', 2, (2, 3), 'id')
                         for _ in range(2))
        store.reset()
        written: dict[int, np.ndarray] = {}
        for generation in generations:
            written[generation] = rng.random((2, 2, 3)).astype('f2')
            store.write(generation, written[generation], keep)
            assert store.generation == generation
            near(reader.read(1), written[generation][1])
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
            found == written[chosen][0]).all()
        for gone in set(generations) - set(held):
            with pytest.raises(SaliencyStoreError):
                store.activate(gone)
