"""Random numbers that depend on (seed, epoch, sample) alone."""
from __future__ import annotations

import random

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from amt_mm.datasets.transforms import SeedSample


def _draw(transform, index):
    results = dict(sample_idx=index, img='kept')
    epoch = int(transform.seed_and_epoch[1])
    assert transform(results) == dict(
        sample_idx=index, img='kept', epoch=epoch)
    return np.random.random(), random.random()


def _at(seed, epoch, index):
    transform = SeedSample()
    transform.set(seed, epoch)
    return _draw(transform, index)


def test_same_place_same_numbers():
    first = _at(3, 5, 7)
    np.random.random(100), random.random()
    assert _at(3, 5, 7) == first


def test_every_place_has_numbers_of_its_own():
    places = [(s, e, i) for s in range(5) for e in range(5)
              for i in range(20)]
    drawn = [_at(*place) for place in places]
    assert len({n for n, _ in drawn}) == len({r for _, r in drawn}) == 500
    # no trend along samples
    numbers = np.array(drawn)
    assert np.abs(numbers.mean(0) - 0.5).max() < 3 * (1 / 12 / 500)**.5
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.14


def test_unset_epoch_says_which_hook_sets_it():
    with pytest.raises(ValueError, match='amt_mm.EpochSeedHook'):
        SeedSample()(dict(sample_idx=0))


class Draws(Dataset):

    def __init__(self):
        self.transform = SeedSample()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return _draw(self.transform, index)


def test_persistent_workers_see_the_epoch():
    dataset = Draws()
    dataset.transform.set(0, 0)
    loader = DataLoader(
        dataset, 2, num_workers=2, persistent_workers=True,
        multiprocessing_context='fork', collate_fn=list)
    epochs = []
    for epoch in (0, 1, 0):
        dataset.transform.set(0, epoch)
        epochs.append([pair for batch in loader for pair in batch])
        assert epochs[-1] == [_at(0, epoch, i) for i in range(8)]
    assert epochs[0] == epochs[2] != epochs[1]
