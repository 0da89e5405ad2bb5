"""Hooks for the runs of the tests, and looks into what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

NUM_IMAGES = 22
WORKERS = {
    'train_dataloader.num_workers': 2,
    'train_dataloader.persistent_workers': True,
}
# the same on each rank, and without processes
SAME_SEED = {'randomness': dict(seed=0, _delete_=True)}
FSDP = dict(runner_type='FlexibleRunner',
            strategy=dict(type='amt_mm.AMTFSDPStrategy'))
# another decoder, and half of the masked predicted
CROSS = {
    'model.neck.type': 'amt_mm.AMTCrossDecoder',
    'model.neck.decoder_depth': 2,
    'train_dataloader.dataset.pipeline.4.predict_ratio': 0.5,
}


def use_source(cfg, source, **options):
    """Let a config have its maps made by a source, and return it."""
    cfg.custom_hooks[1] = ConfigDict(
        type='amt_mm.SaliencyUpdateHook', source=source, **options)
    return cfg


@HOOKS.register_module(force=True)
class RecordPlans(Hook):
    """Record the counts of every sample, and its epoch."""

    def before_run(self, runner):
        self.counts = set()

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        for sample in data_batch['data_samples']:
            self.counts.add((runner.epoch, *(
                int((sample.mask_plan == flag).sum()) for flag in (1, -1, 0))))


def recorded(runner):
    """Return (epoch, masked, thrown, visible) of all samples of a runner."""
    return sorted(hook_of(runner, RecordPlans).counts)


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """End a run early."""

    def __init__(self, epoch):
        self.epoch = epoch

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = runner.epoch + 1 == self.epoch


@HOOKS.register_module(force=True)
class CallBetweenEpochs(Hook):
    """Call functions with the runner, each before or after an epoch.

    They are not in the config, which is written to a file: a test sets them
    by ``monkeypatch``.
    """

    priority = 'VERY_HIGH'
    before: dict = {}
    after: dict = {}

    def before_train_epoch(self, runner):
        if runner.epoch in self.before:
            self.before[runner.epoch](runner)

    def after_train_epoch(self, runner):
        if runner.epoch in self.after:
            self.after[runner.epoch](runner)


def hook_of(runner, kind):
    """Return the hook of a class."""
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def loss_trace(runner):
    """Return the loss of every iteration of a runner."""
    return runner.message_hub.log_scalars['train/loss'].data[0]


def assert_same_weights(model, expected):
    """Compare a model with a state bit for bit."""
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, expected[name]), name


def store_of(runner):
    """Return the saliency store of a runner."""
    return next(hook for hook in runner.hooks if hasattr(hook, 'store')).store


def log_of(runner):
    """Return the text log of a runner."""
    return next(Path(runner._log_dir).glob('*.log')).read_text()


def scalars_of(runner):
    """Return the path of the JSON log of a runner."""
    return next(Path(runner._log_dir).glob('vis_data/scalars.json'))


def lines_of(path, key=''):
    """Return the lines of a JSON log, or those that have a key."""
    lines = map(json.loads, Path(path).read_text().splitlines())
    return [line for line in lines if not key or key in line]


def pictures_of(runner):
    """Return the paths of the pictures of a runner, in order."""
    return sorted(Path(runner._log_dir).glob('vis_data/vis_image/*.png'))
