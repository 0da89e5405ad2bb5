"""How wrong arguments are refused."""
from __future__ import annotations

import math

import pytest

from amt_mm.arguments import (
    check_bool,
    check_choice,
    check_config,
    check_int,
    check_number,
    check_sides,
    check_str,
    error_context,
    optional,
)


@pytest.mark.parametrize('value', [0, 6, True, 2., '3', None])
def test_int_in_bounds(value):
    assert check_int('n', 5, 1, 5) == 5
    with pytest.raises(ValueError, match=r'n must be an integer in \[1, 5\]'):
        check_int('n', value, 1, 5)


@pytest.mark.parametrize('bounds, inside, outside', [
    ('[0, 1)', [0, 0., .5, 5e-324], [-5e-324, 1, 1., 2]),
    ('(0, 1]', [5e-324, 1, 1.], [0, -0., math.nextafter(1, 2)]),
    ('(0, inf)', [1e-300, 1, 1.7e308, 10**300], [0, -1, 10**400]),
    ('(-inf, inf)', [-1.7e308, 0, 1e308], [-10**400])])
def test_numbers_in_bounds(bounds, inside, outside):
    for value in inside:
        assert check_number('x', value, bounds) == value
    for value in (*outside, math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=r'x must be in [\[(]'):
            check_number('x', value, bounds)
    for value in (True, '1', None):
        with pytest.raises(TypeError, match='x must be a number'):
            check_number('x', value, bounds)


def test_sides():
    assert check_sides('size', 3) == (3, 3)
    assert check_sides('size', [3, 4]) == (3, 4)
    for value, error in ((0, ValueError), ((1, 10**9), ValueError),
                         ((3, ), TypeError), ('ab', TypeError),
                         (True, TypeError), ((2., 2), TypeError)):
        with pytest.raises(error, match=r'size must be an int or \(height'):
            check_sides('size', value)


def test_other_checks():
    assert optional(check_bool)('b', None) is None
    for check, value, error in (
            (lambda n, v: check_choice(n, v, ['a']), ['a'], ValueError),
            (check_bool, 1, TypeError), (check_str, 1, TypeError),
            (check_config, {}, TypeError)):
        with pytest.raises(error, match=r'^part\.x must be'):
            check('part.x', value)


@pytest.mark.parametrize('error, shown', [
    (ValueError('width must be 1.'), 'width must be 1.'),
    (FileNotFoundError('weights.pth'), 'weights.pth'),
    (AssertionError('odd'), "cannot build {'width': 2}: AssertionError: odd"),
    (ZeroDivisionError(), "cannot build {'width': 2}: ZeroDivisionError: ")])
def test_context_of_errors(error, shown):
    with pytest.raises((ValueError, OSError)) as caught:
        with error_context('cannot build', dict(width=2)):
            raise error
    assert str(caught.value) == shown
    assert error in (caught.value, caught.value.__cause__)
