"""The order of each ordering: by hand, or exact."""
from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.ndimage import label

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
    Strategy,
    ThrowMiddle,
    TokenCounts,
)
from amt_mm.registry import ORDERINGS

M, T, V = MASKED, THROWN, VISIBLE


def test_which_need_saliency():
    for name in ('AttMaskHigh', 'AttMaskLow', 'Attention', 'Block', 'Grid',
                 'Random'):
        ordering = ORDERINGS.build(dict(type=f'amt_mm.{name}Ordering'))
        assert ordering.needs_saliency == ('Att' in name)


def draw_weights(number):
    """Yield weights of every size, many of them zero or alike."""
    rng = np.random.default_rng(0)
    sizes = [0., 1e-300, 1e-12, 1., 3., 1e12, 1e300]
    for i in range(number):
        grid = rng.integers(1, 10, 2)
        yield (rng.choice(sizes, grid), rng.random(grid), np.zeros(grid),
               1e300 * rng.random(grid))[i % 4]


@pytest.mark.parametrize('ordering', [
    AttentionOrdering(), AttentionOrdering(temperature=2., uniform_mix=0.3),
    AttentionOrdering(temperature=1e-3), AttentionOrdering(temperature=1e300),
    AttentionOrdering(temperature=1e-300), AttMaskHighOrdering(),
    AttMaskLowOrdering(), BlockOrdering(), BlockOrdering(3, 1.),
    GridOrdering(), RandomOrdering()])
def test_an_ordering_is_a_permutation(ordering):
    np.random.seed(0)
    for weights in draw_weights(40):
        before = weights.copy()
        order = ordering(weights, np.random.randint(weights.size + 1))
        assert sorted(order.tolist()) == [*range(weights.size)]
        np.testing.assert_array_equal(weights, before)


# ---- weighted draws without replacement: exact frequencies

DRAWS = 8_000


def exact_ranks(odds):
    """P(rank k = patch i) of successive draws, by enumeration."""
    table = np.zeros((len(odds), len(odds)))
    for order in permutations(range(len(odds))):
        p, left = 1., odds.sum()
        for i in order:
            p *= odds[i] / left if left > 1e-12 else 1.
            left -= odds[i]
        table[np.arange(len(odds)), order] += p
    return table.clip(0, 1)


def drawn_ranks(ordering, weights):
    """How often patch i got rank k."""
    table = np.zeros((len(weights), len(weights)))
    ranks = np.arange(len(weights))
    for _ in range(DRAWS):
        table[ranks, ordering(weights[None], 1)] += 1
    return table / DRAWS


def deviation(drawn, exact):
    """Return the largest deviation in standard errors."""
    certain = (exact < 1e-12) | (exact > 1 - 1e-12)
    assert (drawn[certain].round() == exact[certain].round()).all()
    sigma = np.sqrt(exact * (1 - exact) / DRAWS)
    return float((np.abs(drawn - exact)[~certain] / sigma[~certain]).max())


WEIGHTS = 0.05, 0.2, 0.9, 0.4, 0.0
NAN, INF = np.nan, np.inf


@pytest.mark.parametrize('weights, options', [
    ((5.0, 0.05, 0.5, 0.01, 2.0), {}), ((0.7, 0.7, 0.0, 0.2, 0.4), {}),
    (WEIGHTS, dict(temperature=2.)), (WEIGHTS, dict(uniform_mix=0.3)),
    (WEIGHTS, dict(temperature=3., uniform_mix=0.1)),
    # without a preference
    ((0., 0., 0., 0.), {}), ((1., NAN, 2., 3.), {}), ((1., INF, 2., 3.), {}),
    ((NAN, ) * 4, dict(temperature=0.5))])
def test_ranks_have_the_exact_frequencies(weights, options):
    np.random.seed(1)
    ordering, weights_L = AttentionOrdering(**options), np.array(weights)
    w = weights_L**(1 / options.get('temperature', 1))
    if not 0 < w.sum() < INF:
        w = np.ones(len(w))
    mix = options.get('uniform_mix', 0)
    odds = (1 - mix) * w / w.sum() + mix / len(w)
    np.testing.assert_allclose(ordering.probabilities(weights_L), odds)
    exact = exact_ranks(odds)
    np.testing.assert_allclose(exact.sum(0), 1)
    np.testing.assert_allclose(exact[0], odds)
    # the worst of 200 cells
    assert deviation(drawn_ranks(ordering, weights_L), exact) < 4


@pytest.mark.parametrize('temperature', [1e-3, .5, 1., 30., 1e3])
@pytest.mark.parametrize('mix', [0, .3, .99])
def test_odds_are_of_the_ratios_alone(temperature, mix):
    rng = np.random.default_rng(0)
    ordering = AttentionOrdering(temperature, mix)
    for number in range(1, 40):
        weights_L = rng.random(number) * rng.integers(0, 2, number)
        odds = ordering.probabilities(weights_L)
        np.testing.assert_allclose(odds.sum(), 1)
        assert (odds >= mix / number - 1e-12).all()
        for factor in (1e-6, 1e6):
            np.testing.assert_allclose(
                ordering.probabilities(factor * weights_L), odds, atol=1e-9)
        # who has the more weight is not the less likely
        assert (np.diff(odds[np.argsort(weights_L)]) >= -1e-12).all()


@pytest.mark.parametrize('temperature, odds', [
    (1e-5, [0., 1., 0.]),  # powers of all weights underflow
    (0.02, [0., 1., 0.]), (1e6, [1 / 3] * 3)])
def test_temperature_runs_from_a_sort_to_uniform(temperature, odds):
    weights_L = np.array([0.2, 0.5, 0.4])
    np.testing.assert_allclose(
        AttentionOrdering(temperature).probabilities(weights_L), odds,
        atol=1e-4)


def test_zero_weights_come_last_and_in_random_order():
    np.random.seed(0)
    weights_L = np.array([0., 0.5, 0., 1., 0., 0.001])
    orders = np.array([AttentionOrdering()(weights_L[None], 3)
                       for _ in range(6000)])
    assert np.isin(orders[:, :3], [1, 3, 5]).all()
    last = np.bincount(orders[:, -1], minlength=6)[[0, 2, 4]]
    assert np.abs(last - 2000).max() < 3 * (6000 * 2 / 9)**.5


def test_random_ordering_is_uniform():
    np.random.seed(0)
    drawn = drawn_ranks(RandomOrdering(), np.array([9., 1., 1., 0.]))
    assert deviation(drawn, np.full((4, 4), .25)) < 3


# ---- AttMask


@pytest.mark.parametrize('ordering, expected', [
    (AttMaskHighOrdering(), [[V, M, V], [M, V, T], [T, M, M]]),
    (AttMaskLowOrdering(), [[M, V, M], [V, M, T], [M, V, T]]),
])
def test_high_and_low(ordering, expected):
    weights = np.array([[.1, .9, .3], [.8, .2, .5], [.4, .7, .6]])
    strategy = Strategy(TokenCounts(4, 2, 3), ordering, ThrowMiddle())
    for _ in range(5):
        assert strategy.plan(weights).tolist() == expected


def test_ties_are_broken_at_random():
    np.random.seed(0)
    weights = np.array([[0., 1.], [0., 0.]])
    orders = [AttMaskHighOrdering()(weights, 2) for _ in range(3000)]
    assert {order[0] for order in orders} == {1}
    second = np.bincount([order[1] for order in orders])
    assert np.abs(second[[0, 2, 3]] - 1000).max() < 3 * (3000 * 2 / 9)**.5


# ---- blocks of BEiT's sizes


def masked(ordering, grid, num_masked):
    """Return which patches (h, w) an ordering masks."""
    flags = np.zeros(grid[0] * grid[1], bool)
    flags[ordering(np.ones(grid), num_masked)[:num_masked]] = True
    return flags.reshape(grid)


@pytest.mark.parametrize('grid, num', [((14, 14), 147), ((10, 20), 80)])
def test_fewer_components_than_random(grid, num):
    np.random.seed(0)
    blocks, random = (
        np.mean([label(masked(ordering, grid, num))[1] for _ in range(100)])
        for ordering in (BlockOrdering(), RandomOrdering()))
    assert blocks < 0.6 * random


def test_a_first_block_is_a_rectangle_of_beits_sizes():
    np.random.seed(0)
    ordering, areas, aspects = BlockOrdering(), [], []
    for _ in range(3000):
        rows, columns = ordering._draw_block((14, 14), 75)
        h, w = rows.stop - rows.start, columns.stop - columns.start
        assert 0 <= rows.start and rows.stop <= 14
        assert 0 <= columns.start and columns.stop <= 14
        areas.append(h * w)
        aspects.append(np.log(h / w))
    # uniform in [16, 75], but for rounding and what the grid cuts off
    assert 12 <= min(areas) and max(areas) <= 85
    assert abs(np.mean(areas) - (16 + 75) / 2) < 1.5
    assert abs(np.mean(aspects)) < 0.05
    assert np.abs(aspects).max() < np.log(1 / .3) + 0.3


# ---- grids


def last(grid, number):
    """Return which patches (h, w) come last."""
    flags = np.zeros(grid[0] * grid[1], int)
    flags[GridOrdering()(np.ones(grid), 1)[-number:]] = 1
    return flags.reshape(grid)


@pytest.mark.parametrize('number, period', [
    (4, [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    (16, [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]),
    (32, [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]),
    (48, [[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1], [0, 1, 0, 1]]),
])
def test_patterns_are_shifted_grids(number, period):
    np.random.seed(0)
    pattern = np.tile(period, (2, 2))
    shifted = {np.roll(pattern, (y, x), (0, 1)).tobytes()
               for y in range(4) for x in range(4)}
    seen = {last((8, 8), number).tobytes() for _ in range(200)}
    assert seen == shifted


def test_75_percent_of_14x14_keeps_one_of_each_2x2():
    for _ in range(20):
        visible = last((14, 14), 49)
        assert (visible.reshape(7, 2, 7, 2).sum((1, 3)) == 1).all()
        rows, columns = np.nonzero(visible)
        assert len({*(rows % 2)}) == len({*(columns % 2)}) == 1


@pytest.mark.parametrize('number', [30, 49, 80])
def test_fewer_tokens_are_a_part_of_the_denser_grid(number):
    np.random.seed(0)
    cells = np.argwhere(last((14, 14), number))
    gaps = np.abs(cells[:, None] - cells).sum(2)
    gaps[np.diag_indices(number)] = 99
    assert gaps.min() == 2  # never side by side, unlike random ones
