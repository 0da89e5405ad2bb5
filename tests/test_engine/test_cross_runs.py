"""Runs with the decoder of cross-attention and a share predicted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from processes import train_together
from tiny_run import WORKERS, loss_trace

CROSS = {
    'model.neck.type': 'amt_mm.AMTCrossDecoder',
    'model.neck.decoder_depth': 2,
    'train_dataloader.dataset.pipeline.4.predict_ratio': 0.5,
}


def test_resumed_bit_for_bit(tiny_cfg, run):
    """Also which patches are predicted, which the workers draw."""
    found = []
    for name, lengths in (('whole', [4]), ('resumed', [2, 4])):
        for length in lengths:
            runner = run(tiny_cfg(name, **CROSS, **WORKERS, **{
                'model.neck.inter_block': True, 'resume': True,
                'train_cfg.max_epochs': length, 'randomness': dict(seed=0),
                'experiment_name': f'{name}-{length}'}))
        found.append((list(loss_trace(runner)), runner.model.state_dict()))
    (losses, weights), (again, others) = found
    assert losses[-len(again):] == again
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    assert np.mean(losses[-6:]) < np.mean(losses[:6])


def _save(rank, runner):
    torch.save(loss_trace(runner).tolist(), f'{runner.work_dir}/{rank}.pth')


@pytest.mark.parametrize('inter_block, strategy', [
    (False, {}),
    (True, dict(runner_type='FlexibleRunner',
                strategy=dict(type='amt_mm.AMTFSDPStrategy')))])
def test_two_processes_train_as_one(tiny_cfg, run, inter_block, strategy):
    def make(name, num, **options):
        return tiny_cfg(name, **CROSS, **options, **{
            'model.neck.inter_block': inter_block,
            'train_cfg.max_epochs': 2, 'randomness': dict(seed=0),
            'train_dataloader.batch_size': 12 // num,
            'train_dataloader.dataset.indices': 12})

    alone = loss_trace(run(make('alone', 1))).tolist()
    cfg = make('joint', 2, **strategy)
    assert train_together([cfg] * 2, inspect=_save) == [None] * 2
    both = np.mean([torch.load(f'{cfg.work_dir}/{rank}.pth')
                    for rank in (0, 1)], 0)
    assert len(both) == len(alone) == 2
    # one image less or more to a process changes nothing but the order
    np.testing.assert_allclose(both, alone, rtol=1e-4)
