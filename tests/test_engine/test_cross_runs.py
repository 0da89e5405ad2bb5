"""Runs with the decoder of cross-attention and a share predicted.

That workers draw the same share is in test_workers.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from processes import train_together
from tiny_run import CROSS, FSDP, SAME_SEED, loss_trace


def _save(rank, runner):
    torch.save(loss_trace(runner).tolist(), f'{runner.work_dir}/{rank}.pth')


@pytest.mark.parametrize('inter_block, strategy', [(False, {}), (True, FSDP)])
def test_two_processes_train_as_one(tiny_cfg, run, inter_block, strategy):
    def make(name, num, **options):
        return tiny_cfg(name, **CROSS, **SAME_SEED, **options, **{
            'model.neck.inter_block': inter_block,
            'train_cfg.max_epochs': 2,
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
