"""Runs with the options of a faster input."""
from __future__ import annotations

import numpy as np
from tiny_run import NUM_IMAGES, loss_trace, store_of


def _faster(cfg, num_workers: int):
    """Let a config decode less, resize by torch and repeat its images."""
    steps = cfg.train_dataloader.dataset.pipeline
    crop = {**steps[2], 'backend': 'torch', 'interpolation': 'bicubic'}
    crop.pop('type')
    steps[1:3] = [dict(type='amt_mm.LoadResizedCrop', crop=crop,
                       keep_last=True)]
    cfg.train_dataloader.update(
        num_workers=num_workers, persistent_workers=num_workers > 0,
        sampler=dict(type='amt_mm.RepeatSampler', num_repeats=2))
    return cfg


def test_a_run_with_all_of_them(tiny_cfg, run):
    runner = run(_faster(tiny_cfg(**{'train_cfg.max_epochs': 3}), 2))
    losses = loss_trace(runner)
    # an epoch has as many samples as ever
    assert len(losses) == 3 * -(-NUM_IMAGES // 4)
    assert np.isfinite(losses).all()
    maps = [store_of(runner).read(i) for i in range(NUM_IMAGES)]
    assert all(m.max() == 1 for m in maps)
    # the same without workers
    again = run(_faster(tiny_cfg('b', **{'train_cfg.max_epochs': 2}), 0))
    np.testing.assert_array_equal(loss_trace(again), losses[:12])
