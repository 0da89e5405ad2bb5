"""Checks of this package's own arguments: name, rule, value."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pickle import UnpicklingError
from typing import Any

Check = Callable[[str, Any], Any]

# of an image: what is longer is a typing error, and would fill the memory
MAX_SIDE = 16384
# what speaks of arguments, of their values or of files by itself
CLEAR_ERRORS = ValueError, TypeError, KeyError, OSError, UnpicklingError


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return an integer from ``low`` to ``high``, or raise ValueError."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or value < low or (high is not None and value > high):
        rule = f'>= {low}' if high is None else f'in [{low}, {high}]'
        raise ValueError(f'{name} must be an integer {rule}, got {value!r}.')
    return value


def check_number(name: str, value: Any, bounds: str) -> float:
    """Return a finite number within bounds such as ``'[0, 1)'``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} must be a number, got {value!r} of type '
                        f'{type(value).__name__}.')
    low, high = map(float, bounds[1:-1].split(','))
    above = value >= low if bounds[0] == '[' else value > low
    below = value <= high if bounds[-1] == ']' else value < high
    # an integer may be too large for a float
    if not (above and below and abs(value) <= sys.float_info.max):
        raise ValueError(f'{name} must be in {bounds}, got {value}.')
    return value


def check_epochs_or_share(name: str, value: Any, low: int) -> int | float:
    """Return a number of epochs, or a share of the run in (0, 1)."""
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError(f'{name} must be an integer or, as a share of the '
                         f'run, in (0, 1), got {value}.')
    return value if isinstance(value, float) else check_int(name, value, low)


def check_type(name: str, value: Any, kind: type, what: str) -> Any:
    """Return a value of a type, or raise TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f'{name} must be {what}, got {value!r}.')
    return value


check_bool = partial(check_type, kind=bool, what='True or False')
check_str = partial(check_type, kind=str, what='a string')
check_dict = partial(check_type, kind=dict, what='a dict')


def check_config(name: str, value: Any) -> dict:
    """Return the config of something to build, or raise TypeError."""
    if not (isinstance(value, dict) and 'type' in value):
        raise TypeError(f"{name} must be a dict with 'type', got {value!r}.")
    return value


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return one of some strings, or raise ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f'{name} must be one of {list(choices)}, got '
                         f'{value!r}.')
    return value


def check_sides(name: str, value: Any, low: int = 1) -> tuple[int, int]:
    """Return (height, width) of one integer for both or a pair of them."""
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    is_pair = len(sides) == 2 and all(
        isinstance(n, int) and not isinstance(n, bool) for n in sides)
    if not is_pair or not all(low <= side <= MAX_SIDE for side in sides):
        error = ValueError if is_pair else TypeError
        raise error(f'{name} must be an int or (height, width), got '
                    f'{value!r}; a side is in [{low}, {MAX_SIDE}].')
    return sides[0], sides[1]


def check_multiple(name: str, value: int, of: int, why: str) -> int:
    """Return a multiple of a number, or raise ValueError."""
    if value % of:
        raise ValueError(f'{name} must be a multiple of {why}, got {value} '
                         f'by {of}.')
    return value


def optional(check: Check) -> Check:
    """Return a check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


check_batch_size = optional(partial(check_int, low=1))
check_num_workers = optional(partial(check_int, low=0, high=1024))


@contextmanager
def error_context(what: str, cfg: Any) -> Iterator[None]:
    """Turn an assertion or a crash in a library into a ValueError.

    It says ``what`` cannot be done with what config; ``CLEAR_ERRORS`` pass.
    """
    try:
        yield
    except CLEAR_ERRORS:
        raise
    except Exception as error:
        raise ValueError(f'{what} {cfg!r}: {type(error).__name__}: {error}'
                         ) from error
