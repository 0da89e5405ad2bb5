"""Counts of exact shares, and the gathers of a plan against naive ones."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from amt_mm.masking import (
    MASKED,
    THROWN,
    UNPREDICTED,
    VISIBLE,
    MaskPlan,
    Strategy,
    TokenCounts,
    count_tokens,
    count_unpredicted,
)

GRID, COUNTS, SIDE = (4, 6), TokenCounts(9, 7, 8), 5


def _flags(batch=3, counts=COUNTS, grid=GRID, seed=0):
    rng = np.random.default_rng(seed)
    roles = np.repeat(np.array([MASKED, THROWN, VISIBLE], np.int8), counts)
    return np.stack([rng.permutation(roles).reshape(grid)
                     for _ in range(batch)])


def _images(batch=3, channels=2):
    return torch.randn(
        batch, channels, GRID[0] * SIDE, GRID[1] * SIDE,
        generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('num', [49, 100])
def test_every_percentage_is_exact(num):
    checked = 0
    for r in range(1, 100):
        for t in range(0, 99 - r):
            floor = (num * r // 100, num * (r + t) // 100 - num * r // 100)
            ceil = (-(-num * r // 100), -(-num * t // 100))
            for rounding, (m, d) in dict(floor=floor, ceil=ceil).items():
                if m < 1 or num - m - d < 1:
                    continue
                counts = count_tokens(num, r / 100, t / 100, rounding)
                assert counts == (m, d, num - m - d), (r, t, rounding)
                checked += 1
    assert checked > 9000


def test_ids_ascend_and_partition_the_tokens():
    flags = _flags()
    plan = MaskPlan.from_flags(flags)
    assert plan.ids_visible.shape == (3, COUNTS.visible)
    assert plan.ids_masked.shape == (3, COUNTS.masked)
    assert plan.num_tokens == 24 and plan.grid == GRID
    for i, flat in enumerate(flags.reshape(3, -1)):
        for ids, role in ((plan.ids_visible[i], VISIBLE),
                          (plan.ids_masked[i], MASKED)):
            assert ids.dtype == torch.int64
            assert ids.tolist() == np.flatnonzero(flat == role).tolist()


@pytest.mark.parametrize(
    'memory_format', [torch.contiguous_format, torch.channels_last])
def test_patches_equal_a_naive_unfold_and_paste_back(memory_format):
    plan = MaskPlan.from_flags(_flags())
    images = _images().contiguous(memory_format=memory_format)
    unfolded = F.unfold(images, SIDE, stride=SIDE).transpose(1, 2)
    for ids in (plan.ids_visible, plan.ids_masked):
        expected = torch.stack(
            [unfolded[i, ids[i]] for i in range(3)]).unflatten(
                -1, (2, SIDE, SIDE))
        patches = plan.patches(images, ids)
        assert torch.equal(patches, expected)
    assert torch.equal(plan.paste(images, plan.ids_masked, patches), images)
    blank = torch.zeros_like(images)
    pasted = plan.paste(blank, plan.ids_masked, patches)
    assert torch.equal(plan.patches(pasted, plan.ids_masked), patches)
    # as many pixels as the masked patches have, and the original untouched
    assert pasted.count_nonzero() == patches.count_nonzero() > 0
    assert not blank.any()


@pytest.mark.parametrize('other, message', [
    (TokenCounts(9, 6, 9), r'number of visible tokens, got \[8, 9\]'),
    (TokenCounts(10, 6, 8), r'number of masked tokens, got \[9, 10\]'),
])
def test_unequal_counts_are_refused(other, message):
    flags = np.concatenate([_flags(2), _flags(1, other)])
    with pytest.raises(ValueError, match=message):
        MaskPlan.from_flags(flags)


@pytest.mark.parametrize('shape', [(3, 2, 20, 31), (3, 2, 21, 30),
                                   (3, 2, 30, 20), (2, 2, 20, 30)])
def test_images_off_the_grid_are_refused(shape):
    plan = MaskPlan.from_flags(_flags())
    with pytest.raises(ValueError, match=r'3 images of 4 x 6 square patches'):
        plan.patches(torch.zeros(shape), plan.ids_visible)


# ---- a share of the masked is predicted


@pytest.mark.parametrize('num, ratio, rounding, predicted', [
    (88, 0.5, 'floor', 44), (147, 0.5, 'floor', 73), (147, 0.5, 'ceil', 74),
    (100, 0.29, 'floor', 29), (100, 0.07, 'ceil', 7), (88, 1, 'floor', 88),
    (88, 1.0, 'ceil', 88), (3, 0.1, 'ceil', 1)])
def test_predicted_are_a_share_of_the_masked(num, ratio, rounding, predicted):
    assert count_unpredicted(num, ratio, rounding) == num - predicted
    with pytest.raises(ValueError, match='to predict, got 0.3 of 3 masked'):
        count_unpredicted(3, 0.3)


def test_unpredicted_tokens_are_in_no_tensor():
    flags = _flags().reshape(3, -1)
    for row in flags:
        row[np.flatnonzero(row == MASKED)[:4]] = UNPREDICTED
    plan = MaskPlan.from_flags(flags.reshape(3, *GRID))
    assert plan.ids_masked.shape == (3, 5) and plan.ids_visible.shape == (3, 8)
    for ids, row in zip(plan.ids_masked, flags, strict=True):
        assert ids.tolist() == np.flatnonzero(row == MASKED).tolist()
    flags[0, np.flatnonzero(flags[0] == UNPREDICTED)[0]] = THROWN
    with pytest.raises(ValueError, match='the same number of thrown tokens'):
        MaskPlan.from_flags(flags.reshape(3, *GRID))


def test_predicted_are_drawn_uniformly_among_the_masked():
    """Whatever their rank; with all predicted nothing more is drawn."""
    class InOrder:
        def __call__(self, weights, num):
            return np.arange(weights.size)

    strategy = Strategy.build(COUNTS, dict(type=InOrder),
                              dict(type='amt_mm.ThrowMiddle'), 4)
    np.random.seed(0)
    plans = np.stack([strategy.plan(np.ones(GRID)) for _ in range(2000)])
    plans = plans.reshape(2000, -1)
    assert ((plans == UNPREDICTED).sum(1) == 4).all()
    assert np.isin(plans[:, :9], (MASKED, UNPREDICTED)).all()
    shares = (plans[:, :9] == UNPREDICTED).mean(0)
    assert np.abs(shares - 4 / 9).max() < 4 * (20 / 81 / 2000)**.5
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    strategy._replace(num_unpredicted=0).plan(np.ones(GRID))
    assert np.random.random() == expected
