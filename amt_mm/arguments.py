"""Refuse wrong arguments in one voice: name, rule, value."""

from __future__ import annotations

import math
from typing import Any


def check_int(name: str, value: Any, low: int) -> int:
    """Return an integer that is at least ``low``, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f'{name} must be an integer >= {low}, got {value!r}.')
    return value


def check_number(name: str, value: Any, bounds: str) -> float:
    """Return a number inside of bounds such as ``'[0, 1)'``.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of bounds or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} must be a number, got {value!r} of type '
                        f'{type(value).__name__}.')
    low, high = map(float, bounds[1:-1].split(','))
    above = value >= low if bounds[0] == '[' else value > low
    below = value <= high if bounds[-1] == ']' else value < high
    if not (above and below and math.isfinite(value)):
        raise ValueError(f'{name} must be in {bounds}, got {value}.')
    return value


def check_epochs_or_share(name: str, value: Any,
                          low: int) -> int | float:
    """Return a number of epochs, or a share of the run in (0, 1).

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, float):
        if not 0 < value < 1:
            raise ValueError(f'{name} must be an integer or, as a share of '
                             f'the run, in (0, 1), got {value}.')
        return value
    return check_int(name, value, low)
