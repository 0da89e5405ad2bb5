"""What holds for every order and layout, whatever its numbers."""
from __future__ import annotations

import numpy as np
from hypothesis import given, settings
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
    ThrowLow,
    ThrowMiddle,
    ThrowRandom,
    TokenCounts,
)

holds = settings(
    max_examples=60, derandomize=True, deadline=None, database=None)

# ---- examples

grids = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**32 - 1)


def floats(low, high):
    return st.floats(low, high, allow_subnormal=False)


shares = floats(0, 1)


def maps(values=shares):
    return hnp.arrays(np.float64, grids, elements=values)


def weights():
    """Weights of every size, many of them zero or alike."""
    sizes = st.sampled_from([0., 1e-300, 1e-12, 1., 3., 1e12, 1e300])
    return st.one_of(
        maps(sizes), maps(), maps(st.just(0.)), maps(floats(0, 1e300)))


@st.composite
def counts(draw):
    """Counts of at least one masked and one visible token."""
    num = draw(st.integers(2, 60))
    masked = draw(st.integers(1, num - 1))
    thrown = draw(st.integers(0, num - 1 - masked))
    return TokenCounts(masked, thrown, num - masked - thrown)


# ---- orderings and layouts

ORDERINGS = (
    AttentionOrdering(), AttentionOrdering(temperature=2., uniform_mix=0.3),
    AttentionOrdering(temperature=1e-3), AttentionOrdering(temperature=1e300),
    AttentionOrdering(temperature=1e-300), AttMaskHighOrdering(),
    AttMaskLowOrdering(), BlockOrdering(), BlockOrdering(3, 1.),
    GridOrdering(), RandomOrdering())
LAYOUTS = (
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
    np.testing.assert_allclose(odds.sum(), 1)
    assert (odds >= mix / len(odds) - 1e-12).all()
    np.testing.assert_allclose(
        ordering.probabilities(factor * weights_L), odds, atol=1e-9)
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
