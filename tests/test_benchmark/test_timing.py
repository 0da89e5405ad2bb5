"""Taking turns, on a clock that only the calls move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from projects.benchmark import Result, interleave, ratios


class Clock:
    """A clock that stands still unless something takes its time."""

    def __init__(self) -> None:
        self.now = 0.
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def takes(self, name: str, *seconds: float) -> Callable[[], None]:
        """Return what takes so long, in its first call and so on."""
        left = list(seconds)

        def call() -> None:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_all_take_turns_and_none_always_comes_first():
    clock = Clock()
    calls = {name: clock.takes(name, 1.) for name in 'abc'}
    interleave(calls, rounds=2, warmup=1, clock=clock)
    assert ''.join(clock.log) == 'abcbcacab'


def test_ratios_are_of_the_same_round_after_the_warm_up():
    clock = Clock()
    calls = dict(
        peer=clock.takes('peer', 9., 1., 2., 8.),
        ours=clock.takes('ours', 9., .5, 1., 2.))
    seconds = interleave(calls, rounds=3, warmup=1, clock=clock)
    assert seconds == dict(peer=[1., 2., 8.], ours=[.5, 1., 2.])
    assert ratios(seconds['ours'], seconds['peer']) == [.5, .5, .25]
    with pytest.raises(ValueError):
        ratios([1., 2.], [1.])


def test_a_result_is_the_median_with_its_quartiles():
    result = Result.of('x', [4., 1., 2., 3., 100.], aim=3.)
    assert (result.value, result.quartiles, result.rounds) == (3., (2., 4.), 5)
    assert result.meets_aim


@pytest.mark.parametrize(('value', 'aim', 'at_least', 'meets'), [
    (.6, .65, False, True), (.7, .65, False, False), (.6, .65, True, False),
    (.7, .65, True, True), (.65, .65, True, True), (.65, .65, False, True),
    (1., None, False, None)])
def test_an_aim_is_an_upper_or_a_lower_bound(value, aim, at_least, meets):
    result = Result('x', value, (value, value), 1, aim, at_least)
    assert result.meets_aim is meets
