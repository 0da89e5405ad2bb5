"""The step of one workload over that of another."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from .item import Result, Setting
from .peers import PeerWorkload
from .step import StepOptions, TrainStep, clock
from .timing import interleave, ratios
from .workload import Workload

Sides = Mapping[str, Workload | PeerWorkload]


def compare_steps(sides: Sides,
                  setting: Setting,
                  options: StepOptions,
                  aims: Mapping[str, float] | None = None) -> list[Result]:
    """Return the ratio of every side to the first, of time and arithmetic."""
    steps = {
        name: TrainStep(load, options)
        for name, load in sides.items()
    }
    macs = {name: load.macs() for name, load in sides.items()}
    seconds = interleave(steps, setting.rounds, clock=clock())
    results = compare(seconds, aims or {}, macs,
                      batch_size=options.batch_size,
                      precision=options.precision)
    rest = {
        name: without_optimizer(own, steps[name])
        for name, own in seconds.items()
    }
    for result in results:
        peer = rest[result.extra['peer']]
        result.extra['ratio_without_optimizer'] = round(
            statistics.median(ratios(rest[result.item], peer)), 4)
    return results


def without_optimizer(seconds: list[float], step: TrainStep) -> list[float]:
    """Return what forward and backward took of the steps that count."""
    last = step.optimizer_seconds[-len(seconds):]
    return [all_ - own for all_, own in zip(seconds, last, strict=True)]


def compare(seconds: Mapping[str, list[float]],
            aims: Mapping[str, float],
            macs: Mapping[str, int],
            **extra: Any) -> list[Result]:
    """Divide what was measured by what the first side, the peer, needs."""
    peer, *ours = seconds
    results = []
    for name in ours:
        result = Result.of(
            name, ratios(seconds[name], seconds[peer]), aim=aims.get(name))
        result.extra.update(
            peer=peer,
            seconds=_median(seconds[name]),
            peer_seconds=_median(seconds[peer]),
            **arithmetic(result.value, macs[name], macs[peer]),
            **extra)
        results.append(result)
    return results


def arithmetic(ratio: float, macs: int, peer_macs: int) -> dict[str, Any]:
    """Say what the counted operations are, and what time is beyond them."""
    return dict(
        macs=macs,
        peer_macs=peer_macs,
        arithmetic_ratio=round(macs / peer_macs, 4),
        gap=round(ratio - macs / peer_macs, 4))


def _median(values: list[float]) -> float:
    return float(f'{statistics.median(values):.4g}')


