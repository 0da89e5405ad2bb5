"""Seconds of several contenders, taken so that all see the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

Clock = Callable[[], float]


def interleave(calls: Mapping[str, Callable[[], object]],
               rounds: int,
               warmup: int = 1,
               clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Return the seconds of each call, taken in turn after a warm-up.

    The order turns from round to round, so that none always follows another.
    The clock is that on the wall, or ``time.process_time`` for the seconds
    that the process has had a CPU: other work on the machine does not count,
    but neither does waiting for a device or a file.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(rounds + warmup):
        for name in names:
            start = clock()
            calls[name]()
            if number >= warmup:
                seconds[name].append(clock() - start)
        names.append(names.pop(0))
    return seconds


def ratios(ours: list[float], peer: list[float]) -> list[float]:
    """Divide round by round."""
    return [a / b for a, b in zip(ours, peer, strict=True)]
