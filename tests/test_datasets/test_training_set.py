"""Finding data set and transforms inside of wrappers."""
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from small_configs import LOAD, MASK, SEED
from torch.utils.data import Subset

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.training_set import find_transforms, sample_paths, unwrap
from amt_mm.datasets.transforms import AMTMaskGenerator, SeedSample
from amt_mm.saliency import fingerprint


def _dataset(root, *steps):
    return ImageFolder(
        str(root), pipeline=list(steps), serialize_data=False)


def test_unwrap(jpeg_folder):
    dataset = _dataset(jpeg_folder, LOAD)
    repeated = RepeatDataset(dataset, 2)
    for wrapped in (dataset, repeated, Subset(repeated, [3, 9])):
        assert unwrap(wrapped) is dataset
    assert [repeated[i]['sample_idx'] for i in (1, 9)] == [1, 1]
    dataset.get_cat_ids = lambda index: [int(index == 0)]
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.5)
    assert unwrap(balanced) is dataset
    assert [balanced[i]['sample_idx'] for i in range(len(balanced))] == [
        0, *range(8)]
    with pytest.raises(ValueError, match='must be an mmengine BaseDataset or '
                       'a wrapper of some, .* got list'):
        unwrap([])


def test_concatenated_data_sets_have_one_index(jpeg_folder):
    parts = [_dataset(jpeg_folder, LOAD)
             for _ in range(2)]
    number = len(parts[0])
    both = ConcatDataset(parts)
    for _ in range(2):  # which changes nothing
        joined = unwrap(Subset(both, [0]))
    assert len(joined) == 2 * number
    assert [both[i]['sample_idx'] for i in (0, number, number + 1)] == [
        0, number, number + 1]
    assert joined.get_data_info(number + 2) == dict(
        parts[1].get_data_info(2), sample_idx=number + 2)
    assert [*sample_paths(joined)] == [
        f'{i}/{path}' for i in range(2) for path in sample_paths(parts[0])]


def test_find_transforms_at_any_depth(jpeg_folder):
    dataset = _dataset(
        jpeg_folder, SEED, dict(
            type='RandomChoice',
            transforms=[[MASK], [SEED, MASK]]),
        dict(type='RandomApply', transforms=[MASK], prob=0.5))
    steps = dataset.pipeline.transforms
    found = find_transforms(dataset, AMTMaskGenerator)
    choice, apply = steps[1].transforms, steps[2].transforms
    assert [id(g) for g in found] == [
        id(choice[0].transforms[0]), id(choice[1].transforms[1]),
        id(apply.transforms[0])]
    assert len(find_transforms(dataset, SeedSample)) == 2
    assert find_transforms(RepeatDataset(dataset, 2), SeedSample)[0] is (
        steps[0])
    assert find_transforms(_dataset(jpeg_folder), SeedSample) == []


def test_sample_paths_are_relative_to_the_root(jpeg_folder, tmp_path):
    paths = list(sample_paths(_dataset(jpeg_folder)))
    assert sorted(paths) == sorted(
        [f'{i}.jpg' for i in range(6)] + ['below/6.jpg', 'below/7.jpg'])
    # a data set that moved is still the same
    copy = Path(shutil.copytree(jpeg_folder, tmp_path / 'copy'))
    assert fingerprint(sample_paths(_dataset(copy))) == fingerprint(paths)
    (copy / '0.jpg').rename(copy / '9.jpg')
    assert fingerprint(sample_paths(_dataset(copy))) != fingerprint(paths)


def test_other_data_sets(jpeg_folder):
    """Paths outside of the root stay whole; pixels stand in for a path."""
    def paths(*infos):
        dataset = BaseDataset(data_root='/data', lazy_init=True)
        dataset.data_list = infos
        dataset.serialize_data, dataset._fully_initialized = False, True
        return [*sample_paths(dataset)]

    listed = ['/a/0.jpg', 'b/1.jpg']
    assert paths(*(dict(img_path=path) for path in listed)) == listed
    dark, light = (dict(img=np.full((4, 4, 3), level, np.uint8))
                   for level in (0, 1))
    assert paths(dark) == paths(dict(dark)) != paths(light)
    assert [*sample_paths(_dataset(f'{jpeg_folder}/'))] == [
        *sample_paths(_dataset(jpeg_folder))]
