"""Random numbers that depend on (seed, epoch, sample) alone."""
from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from amt_mm.datasets.transforms import SeedSample


def _draw(transform: SeedSample, index: int) -> tuple[float, float]:
    results = dict(sample_idx=index, img='kept')
    epoch = int(transform.seed_and_epoch[1])
    assert transform(results) == dict(
        sample_idx=index, img='kept', epoch=epoch)
    return np.random.random(), random.random()


def _at(seed: int, epoch: int, index: int) -> tuple[float, float]:
    transform = SeedSample()
    transform.set(seed, epoch)
    return _draw(transform, index)


def test_same_place_same_numbers() -> None:
    first = _at(3, 5, 7)
    np.random.random(100), random.random()
    assert _at(3, 5, 7) == first


def test_every_place_has_numbers_of_its_own() -> None:
    places = [(s, e, i) for s in range(5) for e in range(5)
              for i in range(20)]
    drawn = [_at(*place) for place in places]
    assert len({n for n, _ in drawn}) == len({r for _, r in drawn}) == 500
    # no trend along samples
    numbers = np.array(drawn)
    assert np.abs(numbers.mean(0) - 0.5).max() < 3 * (1 / 12 / 500)**.5
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.14


def test_large_seeds_and_indices() -> None:
    assert _at(2**31 - 1, 4000, 2**31) != _at(2**31 - 2, 4000, 2**31)


def test_unset_epoch_says_which_hook_sets_it() -> None:
    with pytest.raises(ValueError, match='amt_mm.EpochSeedHook'):
        SeedSample()(dict(sample_idx=0))


def test_a_copy_knows_the_epoch() -> None:
    transform = SeedSample()
    transform.set(1, 2)
    for twin in (copy.deepcopy(transform), pickle.loads(
            pickle.dumps(transform))):
        assert _draw(twin, 3) == _at(1, 2, 3)


class Draws(Dataset):

    def __init__(self) -> None:
        self.transform = SeedSample()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[float, float]:
        return _draw(self.transform, index)


@pytest.mark.parametrize('num_workers', [1, 2])
def test_persistent_workers_see_the_epoch(num_workers: int) -> None:
    dataset = Draws()
    dataset.transform.set(0, 0)
    loader = DataLoader(
        dataset, 2, num_workers=num_workers, persistent_workers=True,
        multiprocessing_context='fork', collate_fn=list)
    epochs = []
    for epoch in (0, 1, 0):
        dataset.transform.set(0, epoch)
        epochs.append([pair for batch in loader for pair in batch])
        assert epochs[-1] == [_at(0, epoch, i) for i in range(8)]
    assert epochs[0] == epochs[2] != epochs[1]
