"""Refuse wrong arguments in one voice: name, rule, value."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pickle import UnpicklingError
from typing import Any

Check = Callable[[str, Any], Any]

# of an image: what is longer is a slip of the keyboard, and fills the memory
MAX_SIDE = 16384
# Python's words, which name the argument
MISSING = 'required positional argument'
# of worker processes
MAX_WORKERS = 1024


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return an integer from ``low`` to ``high``, or raise ValueError."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or value < low or (high is not None and value > high):
        rule = f'>= {low}' if high is None else f'in [{low}, {high}]'
        raise ValueError(f'{name} must be an integer {rule}, got {value!r}.')
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
    # an integer may be too large for a float
    if not (above and below and abs(value) <= sys.float_info.max):
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


def check_bool(name: str, value: Any) -> bool:
    """Return True or False, or raise TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f'{name} must be True or False, got {value!r}.')
    return value


def check_str(name: str, value: Any) -> str:
    """Return a string, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(f'{name} must be a string, got {value!r}.')
    return value


def check_dict(name: str, value: Any) -> dict:
    """Return a dict, or raise TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f'{name} must be a dict, got {value!r}.')
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


def check_range(name: str, value: Any, bounds: str) -> tuple[float, float]:
    """Return (low, high), both inside of bounds, or raise an error."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise TypeError(f'{name} must be (low, high), got {value!r}.')
    low, high = (check_number(name, number, bounds) for number in value)
    if low > high:
        raise ValueError(f'{name} must be (low, high) with low <= high, got '
                         f'{value!r}.')
    return low, high


def check_multiple(name: str, value: int, of: int, why: str) -> int:
    """Return a multiple of a number, or raise ValueError."""
    if value % of:
        raise ValueError(f'{name} must be a multiple of {why}, got {value} '
                         f'by {of}.')
    return value


def check_config(name: str, value: Any) -> dict:
    """Return a config of something to build, or raise TypeError."""
    if not (isinstance(value, dict) and 'type' in value):
        raise TypeError(f"{name} must be a dict with 'type', got {value!r}.")
    return value


def optional(check: Check) -> Check:
    """Return a check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def check_all(checks: Mapping[str, Check], arguments: Mapping[str, Any],
              prefix: str = '') -> None:
    """Check the arguments among ``arguments`` that have a check."""
    for name in arguments.keys() & checks.keys():
        checks[name](f'{prefix}{name}', arguments[name])


POSITIVE = partial(check_int, low=1)
WORKERS = partial(check_int, low=0, high=MAX_WORKERS)


@contextmanager
def error_context(what: str, cfg: Any) -> Iterator[None]:
    """Let no error pass that names none of the arguments in a config.

    Whatever comes from inside of a library becomes a ValueError that says
    what failed, with which arguments, and why.

    Args:
        what (str): What is done with the config, such as
            ``'cannot build model.neck from'``.
        cfg (Any): The config.
    """
    try:
        yield
    except (OSError, UnpicklingError):  # they tell of a file, not of a config
        raise
    except Exception as error:
        is_usual = isinstance(error, (ValueError, TypeError, KeyError))
        text = ' '.join(str(error).split())
        if is_usual and (MISSING in text or _names_one(text, cfg)):
            raise
        raise ValueError(f'{what} {cfg!r}: {type(error).__name__}: {text}'
                         ) from error


def _names_one(text: str, cfg: Any) -> bool:
    """Tell whether a text names a key of a config, at any depth."""
    if isinstance(cfg, dict):
        # "'key':" is of a config that the text shows, and names nothing
        return any(
            re.search(rf'(?<!\w){re.escape(str(key))}(?!\w|\':)', text)
            and key != 'type' or _names_one(text, value)
            for key, value in cfg.items())
    return isinstance(cfg, (list, tuple)) and any(
        _names_one(text, item) for item in cfg)
