"""Which roles patches without data get, and what they weigh in the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amt_mm.masking import (
    MASKED,
    THROWN,
    UNCOUNTED,
    UNPREDICTED,
    VISIBLE,
    MaskPlan,
    Strategy,
    TokenCounts,
)

GRID = 14, 14
HINTS = dict(type='amt_mm.ShowHints', hint_ratio=1., top_ratio=.1)
LAYOUTS = [dict(type=f'amt_mm.{name}')
           for name in ('ThrowMiddle', 'ThrowLow', 'ThrowRandom')] + [HINTS]
ORDERINGS = [dict(type=f'amt_mm.{name}Ordering') for name in (
    'Attention', 'Random', 'Block')]


def draw_missing(number, seed=0):
    is_missing = np.arange(GRID[0] * GRID[1]) < number
    return np.random.default_rng(seed).permutation(is_missing).reshape(GRID)


def draw_weights(seed=1):
    return np.random.default_rng(seed).random(GRID)


@pytest.mark.parametrize('counts', [
    TokenCounts(88, 78, 30), TokenCounts(147, 0, 49)])
@pytest.mark.parametrize('num_unpredicted', [0, 40])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('ordering', ORDERINGS)
def test_thrown_then_visible_then_unpredicted(ordering, layout,
                                              num_unpredicted, counts):
    strategy = Strategy.build(counts, ordering, layout, num_unpredicted)
    for number in range(0, 196, 39):
        is_missing = draw_missing(number)
        flags = strategy.plan(draw_weights(), is_missing)
        assert flags.dtype == np.int8 and flags.shape == GRID
        roles = {role: flags == role for role in (
            THROWN, VISIBLE, UNPREDICTED, MASKED, UNCOUNTED)}
        predicted = roles[MASKED] | roles[UNCOUNTED]
        assert (predicted.sum() + num_unpredicted, roles[THROWN].sum(),
                roles[VISIBLE].sum()) == counts
        left, expected = number, []
        for room in (counts.thrown, counts.visible, num_unpredicted):
            expected.append(min(left, room))
            left -= expected[-1]
        held = [int((roles[role] & is_missing).sum())
                for role in (THROWN, VISIBLE, UNPREDICTED)]
        assert held == expected
        assert not (roles[MASKED] & is_missing).any()
        assert roles[UNCOUNTED].sum() == left
        assert roles[MASKED].sum() >= 1  # so the loss is of something


@pytest.mark.parametrize('layout', LAYOUTS)
def test_nothing_missing_changes_nothing(layout):
    strategy = Strategy.build(TokenCounts(88, 78, 30), ORDERINGS[0], layout, 9)
    found = []
    for is_missing in (None, draw_missing(0)):
        np.random.seed(5)
        found.append(strategy.plan(draw_weights(), is_missing))
    np.testing.assert_array_equal(*found)


def test_the_others_keep_their_order():
    """The most salient with data are masked, and hints stay hints."""
    weights, counts = draw_weights(), TokenCounts(88, 78, 30)
    ordering = dict(type='amt_mm.AttMaskHighOrdering')
    for number, layout in ((50, LAYOUTS[0]), (88, HINTS)):
        is_missing = draw_missing(number)
        flags = Strategy.build(counts, ordering, layout).plan(
            weights, is_missing).ravel()
        order = np.argsort(-weights, axis=None)
        order = order[~is_missing.ravel()[order]]
        # of the 30 visible, 10 are taken in the second case; 20 are hints
        hints = 20 if layout is HINTS else 0
        assert (flags[order[:hints]] == VISIBLE).all()
        assert (flags[order[hints:hints + 88]] == MASKED).all()
        assert not (flags[order[hints + 88:]] == MASKED).any()


@pytest.fixture
def uncounted():
    """A plan in which a masked token has no data."""
    return MaskPlan.from_flags(np.array(
        [[[UNCOUNTED, MASKED], [VISIBLE, MASKED]],
         [[MASKED, VISIBLE], [MASKED, MASKED]]], np.int8))


def test_uncounted_are_masked_all_the_same(uncounted):
    assert uncounted.ids_masked.tolist() == [[0, 1, 3], [0, 2, 3]]
    assert uncounted.ids_visible.tolist() == [[2], [1]]
    expected = [[False, True, True], [True] * 3]
    for plan in (uncounted, uncounted.to('cpu', torch.int64)):
        assert plan.has_data.tolist() == expected
    counted = np.array([[[MASKED, VISIBLE]]], np.int8)
    assert MaskPlan.from_flags(counted).has_data is None


@pytest.mark.parametrize('share', [0., .5, 1.])
def test_weights_of_the_uncounted(uncounted, share):
    saliency = torch.tensor([[9., 1., 3.], [1., 2., 3.]])
    weights = MaskPlan(
        uncounted.ids_visible, uncounted.ids_masked, uncounted.grid, saliency,
        uncounted.has_data).loss_weights(share)
    expected = torch.tensor([[0., .5, 1.5], [.5, 1., 1.5]])
    ones = torch.tensor([[0., 1., 1.], [1., 1., 1.]])
    torch.testing.assert_close(
        weights, share * expected + (1 - share) * ones, rtol=1e-5, atol=1e-5)
