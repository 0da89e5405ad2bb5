"""Orderings are weighted draws without replacement: exact frequencies."""
from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from amt_mm.masking import AttentionOrdering, RandomOrdering
from amt_mm.masking.orderings import sample_without_replacement

DRAWS = 40_000
WEIGHTS = [
    (0.1, 0.2, 0.3, 0.4, 1.0),
    (1.0, 1.0, 1.0, 1.0, 1.0),
    (5.0, 0.05, 0.5, 0.01, 2.0),
    (0.7, 0.7, 0.0, 0.2, 0.4),
]


def exact_ranks(odds: np.ndarray) -> np.ndarray:
    """P(rank k = patch i) of successive draws, by enumeration."""
    table = np.zeros((len(odds), len(odds)))
    for order in permutations(range(len(odds))):
        p, left = 1., odds.sum()
        for i in order:
            p *= odds[i] / left if left > 1e-12 else 1.
            left -= odds[i]
        table[np.arange(len(odds)), order] += p
    return table.clip(0, 1)


def drawn_ranks(ordering, weights: np.ndarray,
                draws: int = DRAWS) -> np.ndarray:
    """How often patch i got rank k."""
    table = np.zeros((len(weights), len(weights)))
    ranks = np.arange(len(weights))
    for _ in range(draws):
        table[ranks, ordering(weights[None], 1)] += 1
    return table / draws


def deviation(drawn: np.ndarray, exact: np.ndarray,
              draws: float = DRAWS) -> float:
    """Return the largest deviation in standard errors."""
    certain = (exact < 1e-12) | (exact > 1 - 1e-12)
    assert (drawn[certain].round() == exact[certain].round()).all()
    sigma = np.sqrt(exact * (1 - exact) / draws)
    return float((np.abs(drawn - exact)[~certain] / sigma[~certain]).max())


@pytest.mark.parametrize('weights', WEIGHTS)
def test_ranks_have_the_exact_frequencies(weights: tuple, show) -> None:
    np.random.seed(1)
    weights_L = np.array(weights)
    exact = exact_ranks(weights_L)
    np.testing.assert_allclose(exact.sum(0), 1)
    np.testing.assert_allclose(exact[0], weights_L / weights_L.sum())
    greatest = deviation(drawn_ranks(AttentionOrdering(), weights_L), exact)
    show(f'{DRAWS:,} draws: greatest deviation {greatest:.2f} sigma')
    assert greatest < 3


def test_ranks_agree_with_numpys_choice(show) -> None:
    np.random.seed(0)
    rng = np.random.default_rng(0)
    weights_L = rng.random(12)**2 + 0.01  # far above EPS
    p = weights_L / weights_L.sum()
    draws = 20_000
    ours = drawn_ranks(AttentionOrdering(), weights_L, draws)
    theirs = drawn_ranks(
        lambda w, _: rng.choice(w.size, w.size, replace=False, p=p), weights_L,
        draws)
    # two samples; a cell with few hits has no normal distribution
    mean = (ours + theirs) / 2
    often = mean * draws > 50
    z = np.abs(ours - theirs)[often] / np.sqrt(
        2 * mean * (1 - mean) / draws)[often]
    show(f'{often.sum()} cells, {(z < 3).mean():.4f} within 3 sigma, '
         f'greatest {z.max():.2f} sigma')
    assert often.sum() > 100 and (z < 3).mean() > 0.98 and z.max() < 4


@pytest.mark.parametrize('args', [
    dict(temperature=2.), dict(temperature=0.5), dict(uniform_mix=0.3),
    dict(temperature=3., uniform_mix=0.1)])
def test_options_change_the_odds_of_each_draw(args: dict) -> None:
    np.random.seed(3)
    ordering = AttentionOrdering(**args)
    weights_L = np.array([0.05, 0.2, 0.9, 0.4, 0.0])
    w = weights_L**(1 / args.get('temperature', 1))
    mix = args.get('uniform_mix', 0)
    odds = (1 - mix) * w / w.sum() + mix / 5
    np.testing.assert_allclose(ordering.probabilities(weights_L), odds)
    assert deviation(drawn_ranks(ordering, weights_L),
                     exact_ranks(odds)) < 4  # the worst of 100 cells


def test_odds_are_the_weights_by_default() -> None:
    weights_L = np.array([1., 3., 0., 4.])
    np.testing.assert_allclose(
        AttentionOrdering().probabilities(weights_L), weights_L / 8)


def test_temperature_runs_from_a_sort_to_uniform() -> None:
    weights_L = np.array([0.1, 0.4, 0.2, 0.3])
    cold, hot = (AttentionOrdering(t).probabilities(weights_L)
                 for t in (0.02, 1e6))
    assert cold.argmax() == 1 and cold.max() > 0.999
    np.testing.assert_allclose(hot, 0.25, atol=1e-5)


def test_zero_weights_come_last_and_in_random_order() -> None:
    np.random.seed(0)
    weights_L = np.array([0., 0.5, 0., 1., 0., 0.001])
    orders = np.array([AttentionOrdering()(weights_L[None], 3)
                       for _ in range(6000)])
    assert np.isin(orders[:, :3], [1, 3, 5]).all()
    last = np.bincount(orders[:, -1], minlength=6)[[0, 2, 4]]
    assert np.abs(last - 2000).max() < 3 * (6000 * 2 / 9)**.5


@pytest.mark.parametrize('temperature', [1., 0.5])
@pytest.mark.parametrize('weights', [
    [0., 0., 0., 0.], [1., np.nan, 2., 3.], [1., np.inf, 2., 3.],
    [np.nan] * 4])
def test_a_map_that_says_nothing_is_uniform(weights: list[float],
                                            temperature: float) -> None:
    np.random.seed(0)
    weights_L = np.array(weights)
    ordering = AttentionOrdering(temperature)
    np.testing.assert_array_equal(ordering.probabilities(weights_L), 0.25)
    drawn = drawn_ranks(ordering, weights_L, 20_000)
    assert deviation(drawn, np.full((4, 4), .25), 20_000) < 3.5


def test_random_ordering_is_uniform() -> None:
    np.random.seed(0)
    drawn = drawn_ranks(RandomOrdering(), np.array([9., 1., 1., 0.]), 20_000)
    assert deviation(drawn, np.full((4, 4), .25), 20_000) < 3


def test_seed_decides_the_order() -> None:
    weights_L = np.linspace(0, 1, 50)
    orders = []
    for seed in (7, 7, 8):
        np.random.seed(seed)
        orders.append(sample_without_replacement(weights_L).tolist())
    assert orders[0] == orders[1] != orders[2]


def test_only_attention_needs_saliency() -> None:
    assert AttentionOrdering.needs_saliency
    assert not RandomOrdering.needs_saliency


def test_a_low_temperature_sorts_small_weights_too():
    """Powers of all weights vanish, and with them once did their order."""
    weights_L = np.array([0.2, 0.5, 0.4])
    odds = AttentionOrdering(temperature=1e-5).probabilities(weights_L)
    assert odds.tolist() == [0., 1., 0.]
    np.testing.assert_allclose(
        AttentionOrdering(temperature=0.5).probabilities(weights_L),
        np.array([4, 25, 16]) / 45)
