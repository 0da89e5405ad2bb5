"""RankMe and spread against features of known rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amt_mm.evaluation import feature_spread, rank_me


@pytest.mark.parametrize('rank', [1, 3, 8])
def test_as_many_as_equal_singular_values(rank):
    rng = np.random.default_rng(0)
    rows, columns = (np.linalg.qr(rng.normal(size=(n, n)))[0][:, :rank]
                     for n in (40, 8))
    features = torch.from_numpy(5 * rows @ columns.T).float()
    assert rank_me(features) == pytest.approx(rank, abs=1e-3)


def test_the_formula_of_the_paper():
    features = torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    values = np.linalg.svd(features.numpy().astype(np.float64))[1]
    shares = values / values.sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert rank_me(features) == pytest.approx(expected, rel=1e-6)
    assert 1 < expected < 7
    assert rank_me(torch.zeros(30, 7)) == pytest.approx(1, abs=1e-4)


def test_spread_of_directions():
    one = torch.tensor([3., 4.])
    lengths = torch.tensor([[1.], [2.], [5.]])
    assert feature_spread(lengths * one) == pytest.approx(0, abs=1e-7)
    assert feature_spread(torch.stack([one, -one])) == pytest.approx(1)
    assert feature_spread(torch.eye(2)) == pytest.approx(.5**.5)
