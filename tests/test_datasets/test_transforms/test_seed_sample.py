"""Random numbers that depend on (seed, epoch, sample) alone."""
from __future__ import annotations

import random

import numpy as np

from amt_mm.datasets.transforms import SeedSample


def draw_at(seed, epoch, index):
    transform = SeedSample()
    transform.set(seed, epoch)
    assert transform(dict(sample_idx=index, img='kept')) == dict(
        sample_idx=index, img='kept', epoch=epoch)
    return np.random.random(), random.random()


def test_every_place_has_numbers_of_its_own():
    places = [(s, e, i) for s in range(5) for e in range(5)
              for i in range(20)]
    drawn = [draw_at(*place) for place in places]
    assert [draw_at(*place) for place in places[::-1]] == drawn[::-1]
    assert len({n for n, _ in drawn}) == len({r for _, r in drawn}) == 500
    # no trend along samples
    numbers = np.array(drawn)
    assert np.abs(numbers.mean(0) - 0.5).max() < 3 * (1 / 12 / 500)**.5
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.14
