"""Which share of the salient tokens has which role.

That a run logs them is in test_saliency_update_hook.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from mmpretrain.structures import DataSample

from amt_mm.engine.hooks.mask_statistics_hook import salient_shares


def sample(plan, weights=None):
    made = DataSample()
    made.set_field(np.array(plan, np.int8), 'mask_plan')
    if weights is not None:
        made.set_field(np.array(weights, np.float32), 'saliency')
    return made


def test_salient_shares_by_hand():
    # above the mean 0.25: two tokens of the first, one of the second
    first = sample([[1, -1], [0, 0]], [[.4, .4], [.1, .1]])
    second = sample([[0, 1], [1, -1]], [[1., 0], [0, 0]])
    unpredicted = sample([[2, -1], [0, 0]], [[.4, .4], [.1, .1]])
    for samples in ([first, second], [unpredicted, second]):
        assert salient_shares(samples) == pytest.approx(
            dict(masked=1 / 3, thrown=1 / 3, visible=1 / 3))


def test_no_shares_without_maps():
    assert salient_shares([sample([[1, 0]])]) == {}
    assert salient_shares([sample([[1, 0]], [[.5, .5]])]) == {}
