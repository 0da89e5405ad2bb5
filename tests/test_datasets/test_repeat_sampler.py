"""Several crops of an image, decoded once."""
from __future__ import annotations

import pickle
from collections import Counter

import mmcv
import numpy as np
import pytest
from mmengine.dataset import RepeatDataset
from mmengine.registry import DATA_SAMPLERS
from small_configs import CROP, LOAD, SEED
from torch.utils.data import DataLoader

from amt_mm.datasets import ImageFolder, RepeatSampler
from amt_mm.datasets.repeat_sampler import RepeatedIndex
from amt_mm.datasets.transforms import SeedSample

STEPS = [SEED, dict(LOAD, keep_last=True), CROP]


@pytest.fixture
def folder(jpeg_folder):
    dataset = ImageFolder(str(jpeg_folder), pipeline=STEPS)
    dataset.pipeline.transforms[0].set(0, 0)
    return dataset


def _epoch(sampler, epoch):
    sampler.set_epoch(epoch)
    indices = list(sampler)
    assert len(indices) == len(sampler)
    return [(index, index.repeat) for index in indices]  # type: ignore


@pytest.mark.parametrize('shuffle', [False, True])
@pytest.mark.parametrize('num_repeats', [1, 2, 4])
def test_each_image_equally_often(folder, num_repeats, shuffle):
    sampler = DATA_SAMPLERS.build(
        dict(type='amt_mm.RepeatSampler', num_repeats=num_repeats, seed=3,
             shuffle=shuffle, dataset=folder))
    for cycle in range(2):
        count: Counter = Counter()
        for part in range(num_repeats):
            pairs = _epoch(sampler, cycle * num_repeats + part)
            assert len(pairs) == 8
            for start in range(0, 8, num_repeats):
                group = pairs[start:start + num_repeats]
                assert len({index for index, _ in group}) == 1
                assert [r for _, r in group] == [*range(num_repeats)]
            count.update(pairs)
        assert set(count.values()) == {1} and len(count) == 8 * num_repeats
    if shuffle:
        assert _epoch(sampler, 0) != _epoch(sampler, num_repeats)


def test_processes_share_an_epoch(folder, monkeypatch):
    shares = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info',
                            lambda rank=rank: (rank, 2))
        shares.append(_epoch(RepeatSampler(folder, 2, seed=3), 1))
    assert [len(share) for share in shares] == [4, 4]
    assert len({*shares[0], *shares[1]}) == 8
    monkeypatch.undo()
    assert shares[0] + shares[1] == _epoch(RepeatSampler(folder, 2, seed=3), 1)


def test_a_wrapper_would_lose_the_repeat(folder):
    with pytest.raises(TypeError, match='got RepeatDataset'):
        RepeatSampler(RepeatDataset(folder, 2), seed=0)
    with pytest.raises(ValueError, match='num_repeats must be .* got 0'):
        RepeatSampler(folder, 0, seed=0)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_repeats_are_other_crops_of_one_decode(folder, num_workers,
                                               monkeypatch):
    decoded = []
    decode = mmcv.imfrombytes
    monkeypatch.setattr(
        mmcv, 'imfrombytes',
        lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs))
    loader = DataLoader(
        folder, 4, sampler=RepeatSampler(folder, 4, seed=0),
        num_workers=num_workers, collate_fn=list,
        multiprocessing_context='fork' if num_workers else None)
    for batch in loader:
        assert len({s['sample_idx'] for s in batch}) == 1
        assert {type(s['sample_idx']) for s in batch} == {int}
        assert len({s['crop_box'] for s in batch}) == 4
        for sample in batch:
            assert sample['img'].flags.writeable
    if not num_workers:
        assert len(decoded) == 2
    # the first repeat is what training without repeats shows
    alone = folder[batch[0]['sample_idx']]
    assert alone['crop_box'] == batch[0]['crop_box']
    np.testing.assert_array_equal(alone['img'], batch[0]['img'])


def test_seeds_of_repeats():
    seeding = SeedSample()
    seeding.set(1, 2)
    drawn = []
    for index in (5, RepeatedIndex(5, 0), RepeatedIndex(5, 1), pickle.loads(
            pickle.dumps(RepeatedIndex(5, 2))), RepeatedIndex(6, 1)):
        results = seeding(dict(sample_idx=index))
        assert type(results['sample_idx']) is int
        drawn.append(np.random.random())
    assert drawn[0] == drawn[1] and len(set(drawn)) == 4
