"""The plan of a batch is made in the worker, and travels with the batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset.utils import default_collate
from mmengine.registry import FUNCTIONS
from mmpretrain.models.utils import SelfSupDataPreprocessor
from small_configs import CROP, LOAD, MASK, PACK
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from amt_mm.datasets import ImageFolder, PlannedSamples, collate_plans
from amt_mm.masking import MaskPlan

RANDOM_MASK = dict(MASK, ordering=dict(type='amt_mm.RandomOrdering'))


@pytest.fixture
def samples(jpeg_folder):
    dataset = ImageFolder(
        str(jpeg_folder), pipeline=[LOAD, CROP, RANDOM_MASK, PACK])
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


def test_a_batch_as_ever_and_its_plan(samples, batch):
    expected = default_collate(samples)
    assert set(batch) == set(expected) == {'inputs', 'data_samples'}
    assert torch.equal(batch['inputs'], expected['inputs'])
    found = batch['data_samples']
    for one, two in zip(found, expected['data_samples'], strict=True):
        assert (one.mask_plan == two.mask_plan).all()
        assert one.img_path == two.img_path
    plan = MaskPlan.from_data_samples(list(found))
    assert equal(found.plan, plan)
    # of tensors with gaps, a copy to a device would be copied first
    assert found.plan.ids_visible.is_contiguous()
    assert found.plan.ids_masked.is_contiguous()
    # it is not made anew
    found.plan = other = MaskPlan(
        plan.ids_visible.flip(0), plan.ids_masked.flip(0), plan.grid)
    assert equal(MaskPlan.from_data_samples(found), other)


def test_the_preprocessor_moves_it(batch):
    batch['data_samples'][0].set_field(torch.zeros(1), 'more')
    preprocess = SelfSupDataPreprocessor(non_blocking=True).to('meta')
    found = preprocess(batch)['data_samples']
    assert type(found) is PlannedSamples
    assert found.plan.ids_visible.is_meta and found.plan.ids_masked.is_meta
    assert found.plan.grid == (4, 4)
    assert found[0].more.is_meta and len(found) == 4


def test_a_loader_that_pins_reaches_the_plan(batch):
    """A stand-in tells it, where there is no device to pin for."""
    batch['data_samples'].plan = SimpleNamespace(pin_memory=lambda: 'pinned')
    del batch['inputs']
    found = pin_memory(batch)['data_samples']
    assert type(found) is PlannedSamples
    assert found.plan == 'pinned' and len(found) == 4


def test_a_batch_without_plans(samples):
    del samples[1]['data_samples'].mask_plan
    with pytest.raises(ValueError, match="must hold 'mask_plan'"):
        collate_plans(samples)
    for sample in samples:
        sample['data_samples'].pop('mask_plan', None)
    assert isinstance(collate_plans(samples)['data_samples'], list)
