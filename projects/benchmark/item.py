"""What an item of the benchmark is, and the list of all of them.

A file ``projects/benchmark/*_items.py`` needs no other line but its name in
``items.py``:

    @item('mask_generator', group='Input', about='One call, one sample.')
    def mask_generator(setting: Setting) -> list[Result]:
        ours, peer = build(tiny=setting.tiny)
        seconds = interleave(dict(peer=peer, ours=ours), setting.rounds)
        return [Result.of('mask_generator',
                          ratios(seconds['ours'], seconds['peer']),
                          aim=0.1)]
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What the command line leaves open.

    Attributes:
        rounds (int): Pairs of measurements of an item, at least 2.
        tiny (bool): Whether to measure toys, as the tests do: the figures
            mean nothing, but every line runs.
        images (Path, optional): A folder of images, for the items that read
            some; they make their own where it is None.
    """

    rounds: int = 11
    tiny: bool = False
    images: Path | None = None


@dataclass(frozen=True)
class Result:
    """One figure: the median of ratios, ours over the peer's.

    Attributes:
        item (str): What was measured, unique over all results, in snake case.
        value (float): The median.
        quartiles (tuple[float, float]): The lower and the upper.
        rounds (int): How many measurements they are of.
        aim (float, optional): The bound to keep. Defaults to none.
        at_least (bool): Whether the bound is a lower one. Defaults to False.
        unit (str): Of value, quartiles and aim: ``'ratio'``, or for a figure
            without a peer ``'us'``, ``'ms'``, ``'MB'``...
        extra (dict): Further figures, ready for JSON; those of the whole
            process (CPU, versions, threads) are added to every line.
    """

    item: str
    value: float
    quartiles: tuple[float, float]
    rounds: int
    aim: float | None = None
    at_least: bool = False
    unit: str = 'ratio'
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, item: str, values: Sequence[float], **kwargs: Any) -> Result:
        """Sum up the values of all rounds, at least 2."""
        low, middle, high = statistics.quantiles(
            values, n=4, method='inclusive')
        return cls(item, middle, (low, high), len(values), **kwargs)

    @property
    def meets_aim(self) -> bool | None:
        """Say whether the aim is met, or None where there is none."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.at_least \
            else self.value <= self.aim


@dataclass(frozen=True)
class Item:
    """A named measurement.

    Attributes:
        name (str): What the command line calls it.
        run (Callable): Measures and returns the results.
        group (str): The heading that its results stand under.
        about (str): What is measured against what, and how, in sentences.
        default (bool): Whether it runs when no item is named.
    """

    name: str
    run: Callable[[Setting], list[Result]]
    group: str
    about: str
    default: bool = True


ITEMS: dict[str, Item] = {}


def item(name: str, group: str, about: str,
         default: bool = True) -> Callable[[Any], Any]:
    """Put a function on the list of items."""

    def enter(run: Callable[[Setting], list[Result]]) -> Any:
        if name in ITEMS:
            raise ValueError(f'{name!r} is an item already.')
        ITEMS[name] = Item(name, run, group, about, default)
        return run

    return enter
