"""Values by epoch, and configs that hold schedules."""
from __future__ import annotations

import pickle

import pytest

from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.masking import AttentionOrdering, LinearSchedule, count_tokens
from amt_mm.masking.schedules import Scheduled


def linear(start, end, until, begin=0):
    return dict(type='amt_mm.LinearSchedule', start=start, end=end,
                begin=begin, until=until)


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
        type='amt_mm.AttentionOrdering', temperature=linear(4., 2., 20, 2))))
    scheduled = Scheduled(cfg)
    assert not scheduled.is_constant
    assert scheduled.boundary_epochs == {0, 10, 2, 20}
    assert scheduled.at(5)['b'] == 0.5
    inner = scheduled.at(11)['c']['d']
    assert inner == dict(type=AttentionOrdering, temperature=3.)
    assert Scheduled(dict(a=1, b=dict(c='x'))).is_constant


def test_generator_goes_by_the_epoch():
    generator = AMTMaskGenerator(
        224, mask_ratio=linear(.75, .45, 3), throw_ratio=linear(0., .4, 4, 1),
        ordering=dict(type='amt_mm.AttentionOrdering',
                      temperature=linear(4., 1., 3)),
        layout=dict(type='amt_mm.ShowHints', top_ratio=linear(.1, .2, 2)))
    for twin in (generator, pickle.loads(pickle.dumps(generator))):
        seen = {}
        for epoch in (3, 0, 1, 4):
            strategy = twin.strategy_at(epoch)
            seen[epoch] = (*strategy.counts, strategy.ordering.temperature,
                           strategy.layout.top_ratio)
        assert seen == {
            0: (147, 0, 49, 4., .1), 1: (127, 0, 69, 3., .15),
            3: (88, 52, 56, 1., .2), 4: (88, 78, 30, 1., .2)}
