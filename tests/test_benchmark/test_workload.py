"""What is built for each side, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.models import MAE, MaskFeat

from amt_mm.engine.cost import estimate_cost
from amt_mm.models import AMTMAE
from projects.benchmark.step import StepOptions, TrainStep, loss_function
from projects.benchmark.workload import read_config, stock_config, workloads

MAE_B = 'mae_amt_vit-b_400e_in1k'
CROSS_B = 'mae_amt-cross_vit-b_400e_in1k'


def test_counts_and_plans_are_those_of_the_config():
    warmup, amt = workloads(read_config(MAE_B, tiny=True))
    assert (warmup.counts, amt.counts) == ((147, 0, 49), (88, 78, 30))
    for sample in amt.samples(3):
        flags = sample.mask_plan
        assert [int((flags == n).sum()) for n in (1, -1, 0)] == [88, 78, 30]
        assert np.array_equal(sample.mask.numpy(), flags == 1)
    _, simmim = workloads(read_config('simmim_amt_vit-b_200e_in1k'))
    assert simmim.counts == (88, 52, 56)
    cross, half = workloads(read_config(CROSS_B, tiny=True))
    assert (cross.num_unpredicted, half.num_unpredicted) == (74, 44)
    flags = half.samples(1)[0].mask_plan
    assert [int((flags == n).sum()) for n in (1, 2)] == [44, 44]


@pytest.mark.parametrize(('name', 'stock'), [
    (MAE_B, MAE), (CROSS_B, MAE), ('maskfeat_amt_vit-b_300e_in1k', MaskFeat)])
def test_the_peer_is_mmpretrains_own_class(name, stock):
    warmup, _ = workloads(read_config(name, tiny=True))
    peer = warmup.stock()
    assert peer.is_stock and not warmup.is_stock and warmup.has_stock
    assert type(peer.build('meta')) is stock


def test_both_sides_have_the_same_weights():
    warmup, _ = workloads(read_config(MAE_B, tiny=True))
    ours, stock = warmup.build('cpu'), warmup.stock().build('cpu')
    assert type(ours) is AMTMAE
    stock.load_state_dict(ours.state_dict())


def test_images_go_to_the_device_that_a_model_was_built_for():
    """Not where its buffers alone are."""
    load, _ = workloads(read_config(MAE_B, tiny=True))
    images = torch.zeros(2, 3, 224, 224)
    for side in (load, load.stock()):
        preprocess = side.build('meta').data_preprocessor
        assert preprocess.mean.is_meta and preprocess.device.type == 'meta'
        data = preprocess(dict(inputs=images, data_samples=None))
        assert data['inputs'].is_meta


def test_stock_config_renames_types_only():
    node = dict(type='amt_mm.AMTMAE', part=[dict(type='amt_mm.AMTX', n=1)])
    assert stock_config(node) == dict(
        type='mmpretrain.MAE', part=[dict(type='amt_mm.AMTX', n=1)])


def test_multiply_accumulates_are_those_of_the_plan_of_the_run():
    cfg = read_config(MAE_B)
    plan = estimate_cost(cfg)
    warmup, amt = workloads(cfg)
    assert warmup.macs() == plan.phases[0].macs
    assert amt.macs() == plan.phases[1].macs
    # the peer embeds every patch and predicts every token
    assert .97 < warmup.macs() / warmup.stock().macs() < 1


@pytest.mark.parametrize('bf16', [False, True])
def test_a_step_trains(bf16):
    torch.manual_seed(0)
    _, amt = workloads(read_config(MAE_B, tiny=True))
    model = amt.build('cpu')
    before = loss_function(model, amt, StepOptions(2))
    assert torch.isfinite(before())
    step = TrainStep(amt, StepOptions(2, bf16=bf16))
    step()
    assert len(step.optimizer_seconds) == 1
