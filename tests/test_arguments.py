"""How wrong arguments are refused."""
from __future__ import annotations

import pytest

from amt_mm.arguments import (
    check_all,
    check_bool,
    check_choice,
    check_int,
    check_range,
    check_sides,
    error_context,
    optional,
)


@pytest.mark.parametrize('value', [0, 6, True, 2., '3', None])
def test_int_in_bounds(value):
    assert check_int('n', 5, 1, 5) == 5
    with pytest.raises(ValueError, match=r'n must be an integer in \[1, 5\]'):
        check_int('n', value, 1, 5)


def test_sides():
    assert check_sides('size', 3) == (3, 3)
    assert check_sides('size', [3, 4]) == (3, 4)
    for value, error in ((0, ValueError), ((1, 10**9), ValueError),
                         ((3, ), TypeError), ('ab', TypeError),
                         (True, TypeError), ((2., 2), TypeError)):
        with pytest.raises(error, match=r'size must be an int or \(height'):
            check_sides('size', value)


def test_other_checks():
    assert check_range('r', [0.5, 1], '[0, 1]') == (0.5, 1)
    assert optional(check_bool)('b', None) is None
    for check, value, error in (
            (lambda n, v: check_range(n, v, '[0, 1]'), (1, 0.5), ValueError),
            (lambda n, v: check_range(n, v, '[0, 1]'), 1, TypeError),
            (lambda n, v: check_choice(n, v, ['a']), ['a'], ValueError),
            (check_bool, 1, TypeError)):
        with pytest.raises(error, match=r'^part\.x must be'):
            check_all({'x': check}, {'x': value, 'y': 1}, 'part.')


@pytest.mark.parametrize('error', [
    ValueError('width must be 1.'), TypeError("an unexpected 'depth'"),
    TypeError("f() missing 1 required positional argument: 'z'"),
    FileNotFoundError('weights.pth')])
def test_what_names_an_argument_passes(error):
    with pytest.raises(type(error)) as caught:
        with error_context('cannot build', dict(width=2, deep=dict(depth=3))):
            raise error
    assert caught.value is error


@pytest.mark.parametrize('error', [
    ZeroDivisionError('division by zero'), AssertionError(),
    RuntimeError('width'), ValueError('widths'), TypeError("{'width': 2}"),
    KeyError('type')])
def test_what_names_none_is_told_with_all(error):
    with pytest.raises(ValueError) as caught:
        with error_context('cannot build', dict(type='X', width=2)):
            raise error
    assert str(caught.value) == (
        f"cannot build {{'type': 'X', 'width': 2}}: {type(error).__name__}: "
        f'{error}')
    assert caught.value.__cause__ is error
