"""Values by epoch, and configs that hold schedules."""
from __future__ import annotations

import pytest
from small_configs import linear

from amt_mm.masking import AttentionOrdering, LinearSchedule, count_tokens
from amt_mm.masking.schedules import Scheduled


@pytest.mark.parametrize('epoch, value', [
    (0, 4.), (10, 4.), (11, 3.7), (15, 2.5), (20, 1.), (400, 1.)])
def test_line(epoch, value):
    assert LinearSchedule(4., 1., until=20, begin=10).at(epoch) == value


def test_decimal_ratios_count_as_decimals():
    schedule = LinearSchedule(.75, .45, until=30)
    for epoch in range(31):
        ratio = (75 - epoch) / 100
        assert schedule.at(epoch) == ratio
        assert count_tokens(100, schedule.at(epoch)).masked == 75 - epoch


def test_schedules_at_any_depth():
    cfg = dict(a=1, b=linear(0., 1., 10), c=dict(d=dict(
        type='amt_mm.AttentionOrdering',
        temperature=linear(4., 2., 20, begin=2))))
    scheduled = Scheduled(cfg)
    assert not scheduled.is_constant
    assert scheduled.boundary_epochs == {0, 10, 2, 20}
    assert scheduled.at(5)['b'] == 0.5
    inner = scheduled.at(11)['c']['d']
    assert inner == dict(type=AttentionOrdering, temperature=3.)
    assert Scheduled(dict(a=1, b=dict(c='x'))).is_constant
