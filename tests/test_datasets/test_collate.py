"""The plan of a batch is made in the worker, and travels with the batch."""

from __future__ import annotations

import pytest
import torch
from mmengine.dataset.utils import default_collate
from mmengine.registry import FUNCTIONS
from mmpretrain.models.utils import SelfSupDataPreprocessor
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from amt_mm.datasets import ImageFolder, PlannedSamples, collate_plans
from amt_mm.masking import MaskPlan

PIPELINE = [
    dict(type='amt_mm.LoadImage'),
    dict(type='amt_mm.RandomResizedCropWithBox', scale=32),
    dict(type='amt_mm.AMTMaskGenerator', input_size=32, patch_size=8,
         ordering=dict(type='amt_mm.RandomOrdering')),
    dict(type='mmpretrain.PackInputs',
         algorithm_keys=('mask_plan', 'saliency')),
]


@pytest.fixture
def samples(jpeg_folder):
    dataset = ImageFolder(str(jpeg_folder), pipeline=PIPELINE)
    return [dataset[index] for index in range(4)]


@pytest.fixture
def batch(samples):
    """Return what a worker makes of the samples."""
    loader = DataLoader(samples, batch_size=4, num_workers=1,
                        collate_fn=FUNCTIONS.get('amt_mm.collate_plans'))
    return next(iter(loader))


def equal(one, two):
    return one.grid == two.grid and all(
        torch.equal(getattr(one, name), getattr(two, name))
        for name in ('ids_visible', 'ids_masked'))


def test_the_rest_is_as_ever(samples, batch):
    expected = default_collate(samples)
    assert set(batch) == set(expected) == {'inputs', 'data_samples'}
    assert torch.equal(batch['inputs'], expected['inputs'])
    found = batch['data_samples']
    assert len(found) == 4
    for one, two in zip(found, expected['data_samples'], strict=True):
        assert (one.mask_plan == two.mask_plan).all()
        assert one.img_path == two.img_path
    assert found[-1].img_path == expected['data_samples'][-1].img_path


def test_the_plan_is_that_of_the_samples(batch):
    samples = batch['data_samples']
    expected = MaskPlan.from_data_samples(list(samples))
    assert equal(samples.plan, expected)
    assert equal(MaskPlan.from_data_samples(samples), expected)
    # of tensors with gaps, a copy to a device would be copied first
    assert all(ids.is_contiguous() for ids in (
        samples.plan.ids_visible, samples.plan.ids_masked))
    # not made anew
    samples.plan = expected = MaskPlan(*(
        ids.flip(0) for ids in (expected.ids_visible, expected.ids_masked)),
        expected.grid)
    assert equal(MaskPlan.from_data_samples(samples), expected)


def test_the_preprocessor_moves_it(batch):
    batch['data_samples'][0].set_field(torch.zeros(1), 'more')
    preprocess = SelfSupDataPreprocessor(non_blocking=True).to('meta')
    found = preprocess(batch)['data_samples']
    assert type(found) is PlannedSamples
    assert found.plan.ids_visible.is_meta and found.plan.ids_masked.is_meta
    assert found.plan.grid == (4, 4)
    assert found[0].more.is_meta and len(found) == 4


class Pinned:
    """What tells whether it was pinned, where there is no device to ask."""

    is_pinned = False

    def pin_memory(self):
        made = Pinned()
        made.is_pinned = True
        return made


def test_a_loader_that_pins_reaches_the_plan(batch):
    batch['data_samples'].plan = Pinned()
    del batch['inputs']
    found = pin_memory(batch)['data_samples']
    assert type(found) is PlannedSamples
    assert found.plan.is_pinned and len(found) == 4


def test_a_batch_without_plans(samples):
    del samples[1]['data_samples'].mask_plan
    with pytest.raises(ValueError, match="must hold 'mask_plan'"):
        collate_plans(samples)
    for sample in samples:
        sample['data_samples'].pop('mask_plan', None)
    assert isinstance(collate_plans(samples)['data_samples'], list)
