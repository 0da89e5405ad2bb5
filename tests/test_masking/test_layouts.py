"""The role each rank gets, and orders and layouts that break the rules."""
from __future__ import annotations

import numpy as np
import pytest

from amt_mm.masking import (
    MASKED,
    THROWN,
    VISIBLE,
    AttMaskHighOrdering,
    RandomOrdering,
    ShowHints,
    Strategy,
    ThrowLow,
    ThrowMiddle,
    ThrowRandom,
    TokenCounts,
)

M, T, V = MASKED, THROWN, VISIBLE
COUNTS = TokenCounts(2, 3, 4)


@pytest.mark.parametrize('layout, by_rank', [
    (ThrowMiddle(), [M, M, T, T, T, V, V, V, V]),
    (ThrowLow(), [M, M, V, V, V, V, T, T, T]),
])
def test_roles_by_rank(layout, by_rank):
    assert layout(COUNTS).tolist() == by_rank
    assert layout(COUNTS).dtype == np.int8


@pytest.mark.parametrize('layout', [
    ThrowMiddle(), ThrowLow(), ThrowRandom(), ShowHints(),
    ShowHints(1., 0.5, dict(type='amt_mm.ThrowLow')),
    ShowHints(0.5, 0.3, dict(type='amt_mm.ShowHints', top_ratio=0.1))])
def test_a_layout_gives_exact_counts(layout):
    np.random.seed(0)
    for _ in range(60):
        masked, thrown, visible = np.random.randint((1, 0, 1), 20)
        counts = TokenCounts(masked, thrown, visible)
        try:
            flags = layout(counts)
        except ValueError as error:
            assert isinstance(layout, ShowHints) and 'hints' in str(error)
            continue
        assert flags.dtype == np.int8 and len(flags) == sum(counts)
        found = [int((flags == role).sum()) for role in (M, T, V)]
        assert tuple(found) == counts
        if not isinstance(layout, ShowHints):
            assert (flags[:masked] == M).all()


@pytest.mark.parametrize('layout', [ThrowMiddle(), ThrowLow(), ThrowRandom()])
def test_a_caller_cannot_spoil_the_next_call(layout):
    try:
        layout(COUNTS)[:] = VISIBLE
    except ValueError:  # read-only
        pass
    assert (layout(COUNTS) == THROWN).sum() == 3


def test_random_layout_throws_each_other_rank_alike():
    np.random.seed(0)
    draws = 5_000
    thrown = np.mean([ThrowRandom()(COUNTS) == T for _ in range(draws)], 0)
    p = 3 / 7
    sigma = (p * (1 - p) / draws)**.5
    assert not thrown[:2].any()
    assert np.abs(thrown[2:] - p).max() < 3 * sigma


def test_hints_show_some_of_the_top():
    """Of the 4 most salient 2 are shown; the mask goes on below them."""
    np.random.seed(0)
    weights = np.array([[.1, .9, .3], [.8, .2, .5], [.4, .7, .6]])
    strategy = Strategy(TokenCounts(4, 1, 4), AttMaskHighOrdering(),
                        ShowHints(hint_ratio=0.5, top_ratio=0.4))
    ranking = np.argsort(-weights.ravel())
    shown = np.zeros(9)
    for _ in range(1000):
        by_rank = strategy.plan(weights).ravel()[ranking]
        assert (by_rank[:4] == V).sum() == (by_rank[:4] == M).sum() == 2
        assert by_rank[4:].tolist() == [M, M, T, V, V]
        shown += by_rank == V
    # each of the four alike
    assert np.abs(shown[:4] - 500).max() < 3 * (1000 / 4)**.5


@pytest.mark.parametrize('order, flags, message', [
    ([0, 1, 2, 2], [1, 1, -1, 0], 'permutation of the 4 patches'),
    ([0, 1, 2], [1, 1, -1, 0], 'permutation of the 4 patches'),
    ([1, 2, 3, 4], [1, 1, -1, 0], 'permutation of the 4 patches'),
    ([0, 1, 2, 3], [1, 1, 0, 0], r'visible\) \(2, 1, 1\), got \('),
    ([0, 1, 2, 3], [1, -1, 0], r'visible\) \(2, 1, 1\), got \('),
    ([0, 1, 2, 3], [1, 1, -1, 3], r'visible\) \(2, 1, 1\), got \('),
])
def test_a_strategy_that_breaks_the_rules(order, flags, message):
    strategy = Strategy(TokenCounts(2, 1, 1), lambda *_: np.array(order),
                        lambda _: np.array(flags, np.int8))
    with pytest.raises(ValueError, match=message):
        strategy.check((2, 2))


def test_a_check_draws_nothing():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    Strategy(TokenCounts(2, 1, 1), RandomOrdering(), ThrowMiddle()).check(
        (2, 2))
    assert np.random.random() == expected
