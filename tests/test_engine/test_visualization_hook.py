"""Arguments of the pictures, and their random numbers.

The pictures of a run are in test_hooks_that_look.py.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from amt_mm.engine.hooks import AMTVisualizationHook
from amt_mm.engine.hooks.visualization_hook import random_numbers_kept


@pytest.mark.parametrize(('options', 'message'), [
    (dict(interval=0), 'interval must be .*0'),
    (dict(num_images=0), 'num_images must be .*0'),
    (dict(name=3), 'name must be .*3')])
def test_arguments(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        AMTVisualizationHook(**options)


def test_random_numbers_are_kept_where_drawing_fails():
    draws = []
    for is_drawn in (False, True):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if is_drawn:
            with pytest.raises(OSError, match='disk'), random_numbers_kept():
                random.random(), np.random.random(), torch.rand(1)
                raise OSError('disk full')
        draws.append((random.random(), np.random.random(),
                      torch.rand(1).item()))
    assert draws[0] == draws[1]
