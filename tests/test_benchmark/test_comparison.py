"""The figures are of the right side over the right side."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from projects.benchmark.comparison import compare, without_optimizer


def test_the_first_side_is_the_peer_of_all_others():
    seconds = dict(stock=[2., 4., 2.], ours=[1., 2., 1.], worse=[4., 8., 4.])
    macs = dict(stock=200, ours=120, worse=200)
    ours, worse = compare(seconds, dict(ours=.61), macs, batch_size=3)
    assert (ours.item, ours.value, ours.aim) == ('ours', .5, .61)
    assert (worse.item, worse.value, worse.aim) == ('worse', 2., None)
    assert ours.extra == dict(
        peer='stock', seconds=1., peer_seconds=2., macs=120, peer_macs=200,
        arithmetic_ratio=.6, gap=-.1, batch_size=3)


def test_the_gap_is_what_time_is_above_the_arithmetic():
    result, = compare(dict(peer=[1., 1.], ours=[.7, .7]), {},
                      dict(peer=10, ours=6))
    assert result.extra['gap'] == pytest.approx(.1)


def test_the_optimiser_of_the_rounds_that_count_is_taken_out():
    step = SimpleNamespace(optimizer_seconds=[9., 1., 2.])
    assert without_optimizer([3., 5.], step) == [2., 3.]
