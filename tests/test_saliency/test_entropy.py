"""How evenly saliency is spread."""

from __future__ import annotations

import numpy as np
import pytest

from amt_mm.saliency import mean_entropy
from amt_mm.saliency.entropy import CHUNK


def test_bounds():
    even, peak = np.ones((1, 3, 4), np.float16), np.zeros((1, 3, 4))
    peak[0, 1, 2] = 0.5
    assert mean_entropy(even) == pytest.approx(1, abs=1e-6)
    assert mean_entropy(np.zeros((2, 3, 4))) == pytest.approx(1, abs=1e-6)
    assert mean_entropy(peak) == 0
    half = np.repeat([[[1., 0.]]], 2, 1)
    assert mean_entropy(half) == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match=r'at least one, got \(0, 2, 2\)'):
        mean_entropy(np.zeros((0, 2, 2)))


def test_mean_over_more_maps_than_a_chunk():
    maps = np.zeros((CHUNK + 2, 1, 4), np.float16)
    maps[0, 0, 0] = 1  # all others are even
    assert mean_entropy(maps) == pytest.approx(1 - 1 / len(maps), abs=1e-6)
