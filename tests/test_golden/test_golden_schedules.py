"""Learning rates and updates of the maps, iteration by iteration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

NUM_EPOCHS = 6


@HOOKS.register_module(force=True)
class RecordGenerations(Hook):
    """Record, for each epoch, which maps are in use."""

    def before_run(self, runner):
        self.generations = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            manifest = Path(runner.work_dir, 'saliency', 'manifest.json')
            self.generations.append(
                [runner.epoch, json.loads(manifest.read_text())['current']])


@pytest.fixture
def scheduled(golden_cfg):
    """Return a function that trains six epochs of a warm-up and a cosine."""

    def train(**options):
        cfg = golden_cfg('mae_amt_vit-b_400e_in1k', NUM_EPOCHS, **{
            'train_dataloader.batch_size': 8, **options})
        cfg.param_scheduler = cfg.golden_schedulers
        cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = 2
        cfg.custom_hooks[1].update(interval=0.34)
        cfg.custom_hooks[1].pop('begin', None)
        cfg.custom_hooks.append(dict(type='RecordGenerations'))
        runner = Runner.from_cfg(cfg)
        runner.train()
        hook = next(
            h for h in runner.hooks if isinstance(h, RecordGenerations))
        return runner, dict(
            lr=[float(lr)
                for lr in runner.message_hub.log_scalars['train/lr'].data[0]],
            generations=hook.generations)

    return train


def test_schedules(golden, scheduled):
    runner, found = scheduled()
    golden('schedules', found)
    half = f'{runner.work_dir}/epoch_3.pth'

    _, resumed = scheduled(
        resume=True, load_from=half, experiment_name='resumed')
    assert [epoch for epoch, _ in resumed['generations']] == [3, 4, 5]
    assert resumed['generations'] == found['generations'][3:]
    golden('schedules', dict(lr=resumed['lr']), is_part=True)

    # weights alone: a new run from epoch 0
    _, loaded = scheduled(
        resume=False, load_from=half, experiment_name='loaded',
        work_dir=f'{runner.work_dir}/loaded')
    golden('schedules', loaded)
