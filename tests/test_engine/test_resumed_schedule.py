"""Runs that are resumed with another length, batch size or rate."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS, RUNNERS
from mmengine.runner import Runner
from tiny_run import hook_of, log_of
from torch.utils.data import Dataset

from amt_mm.weights import weights_only_loading

WARM_UP = dict(type='LinearLR', start_factor=1e-4, end=1)
BY_ITER = dict(convert_to_iter_based=True)
COSINE = dict(type='CosineAnnealingLR', **BY_ITER)
SCHEDULES = {
    'as in the configs': [dict(WARM_UP, **BY_ITER), COSINE],
    'by epoch': [WARM_UP, dict(type='PolyLR', power=.9, eta_min=1e-6)],
    'both': [
        dict(type='CosineAnnealingLR', eta_min=1e-5),
        dict(type='LinearLR', start_factor=.1, by_epoch=False, end=16)],
    'steps': [dict(type='MultiStepLR', milestones=[2, 4], **BY_ITER)],
    'one cycle': [dict(type='OneCycleLR', eta_max=.5, **BY_ITER)],
    'momentum': [COSINE, dict(type='CosineAnnealingMomentum', eta_min=.5,
                              **BY_ITER)],
}
OTHERS = {
    'constant': [],
    'by iteration': [dict(type='CosineAnnealingLR', by_epoch=False)],
    'plateau': [dict(type='ReduceOnPlateauLR', monitor='x')],
}
NUM_SAMPLES = 24


@DATASETS.register_module(force=True)
class Points(Dataset):
    metainfo = None

    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, index):
        return dict(inputs=torch.full((2, ), float(index)))


@MODELS.register_module(force=True)
class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.slope(inputs).square().mean())


@HOOKS.register_module(force=True)
class RecordRates(Hook):
    """Record, for each iteration, what the schedulers set."""

    def before_run(self, runner):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append([(group['lr'], *group['betas'])
                           for group in runner.optim_wrapper.param_groups])


@pytest.fixture
def trained(tmp_path):
    """Return a function that trains or resumes and returns the runner."""

    def train(name, epochs=4, schedule='as in the configs', batch_size=4,
              lr=.1, hooks=(), by_epoch=True, **options):
        optim_wrapper = dict(optimizer=dict(type='AdamW', lr=lr,
                                            weight_decay=.1),
                             **options.pop('optim_wrapper', {}))
        build = RUNNERS.build if 'runner_type' in options else Runner.from_cfg
        runner = build(Config(dict(
            model=dict(type='Line'),
            work_dir=str(tmp_path / name),
            experiment_name=uuid4().hex,
            train_dataloader=dict(
                dataset=dict(type='Points'), batch_size=batch_size,
                num_workers=0, collate_fn=dict(type='default_collate'),
                sampler=dict(type='DefaultSampler', shuffle=True)),
            train_cfg=options.pop('train_cfg', dict(
                by_epoch=True, max_epochs=epochs)),
            optim_wrapper=optim_wrapper,
            param_scheduler={**SCHEDULES, **OTHERS}[schedule],
            default_hooks=dict(
                checkpoint=dict(type='amt_mm.AtomicCheckpointHook',
                                interval=1, by_epoch=by_epoch)),
            custom_hooks=[dict(type='RecordRates'), *hooks],
            randomness=dict(seed=0), resume=None, **options)))
        with weights_only_loading():
            runner.train()
        return runner

    return train


def rates_of(runner):
    """Return learning rate and betas by iteration and group."""
    return np.array(hook_of(runner, RecordRates).rates)


def weights_of(runner):
    return torch.cat([p.flatten() for p in runner.model.parameters()])


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_a_longer_run_has_the_rates_of_one_that_was_never_stopped(
        trained, schedule):
    whole = rates_of(trained('whole', 6, schedule))
    trained('run', 3, schedule)
    resumed = trained('run', 6, schedule)
    np.testing.assert_array_equal(rates_of(resumed), whole[18:])
    assert len(np.unique(whole[18:, 0, 0])) > 1
    if schedule == 'both':
        # what the resumed run saves is the whole schedule
        longer = rates_of(trained('longer', 9, schedule))
        np.testing.assert_array_equal(
            rates_of(trained('run', 9, schedule)), longer[36:])


def test_an_unchanged_run_is_bit_equal_and_says_nothing(trained):
    whole = trained('whole', 4)
    trained('run', 4, hooks=[dict(type='StopAfter', epoch=2)])
    resumed = trained('run', 4)
    np.testing.assert_array_equal(rates_of(resumed), rates_of(whole)[12:])
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert 'resumed epoch: 2' in log_of(resumed)
    assert 'the schedule follows' not in log_of(resumed)


SCALED = dict(auto_scale_lr=dict(base_batch_size=8, enable=True))
PARAMWISE = dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(
    bias=dict(lr_mult=.5, decay_mult=0.)))))
ITERATIONS = dict(schedule='by iteration', by_epoch=False)


def iterations(number):
    return dict(train_cfg=dict(by_epoch=False, max_iters=number))


@pytest.mark.parametrize('both, first, second, begin, said', [
    (SCALED, {}, dict(batch_size=2), 24,
     '; end of CosineAnnealingLR 12 -> '),
    (SCALED, {}, dict(batch_size=8), 6,
     'base_values of LinearLR 0.05 -> 0.1'),
    (dict(SCALED, schedule='by epoch'), {}, dict(batch_size=8), 6,
     'base_values of LinearLR 0.05 -> '),
    (dict(SCALED, schedule='constant'), {}, dict(batch_size=2), 24,
     ': lr 0.05 -> '),
    ({}, {}, dict(lr=.3), 12, 'base_values of LinearLR 0.1 -> 0.3'),
    # the schedule has the same end, and the run another place in it
    ({}, dict(epochs=2), dict(epochs=4, batch_size=8), 6,
     'iterations of 2 epochs 12 -> 6'),
    (PARAMWISE, {}, {}, 12, 'end of CosineAnnealingLR 12 -> 24'),
    (ITERATIONS, iterations(10), dict(iterations(20), batch_size=2), 10, ''),
], ids=['smaller batch', 'larger batch', 'by epoch', 'constant', 'rate',
        'same end', 'groups of parameters', 'iterations'])
def test_another_config(trained, both, first, second, begin, said):
    """Rates and iterations are those of a run that had it all along."""
    first, second = dict(epochs=2) | first, dict(epochs=4) | second
    whole = rates_of(trained('whole', **both, **second))
    trained('run', **both, **first)
    resumed = trained('run', **both, **second)
    np.testing.assert_array_equal(rates_of(resumed), whole[begin:])
    assert resumed.iter == len(whole)
    assert said in log_of(resumed)
    assert ('the schedule follows the config, which differs from the '
            f'checkpoint, from epoch 2 (iteration {begin}) on: '
            in log_of(resumed)) == (both is not ITERATIONS)
    if both is PARAMWISE:
        weight, bias, _ = whole[-1, :, 0]
        assert bias == pytest.approx(weight / 2)


def test_a_schedule_that_depends_on_results_is_kept(trained):
    trained('run', 2, 'plateau')
    resumed = trained('run', 4, 'plateau', lr=.3)
    assert set(rates_of(resumed)[:, 0, 0]) == {.1}
    assert 'the schedule of the checkpoint is kept' in log_of(resumed)


def test_the_flexible_runner_does_as_the_other(trained):
    flexible = dict(runner_type='FlexibleRunner', env_cfg={'dist_cfg': {}})
    whole = trained('whole', 6)
    trained('run', 3, **flexible)
    resumed = trained('run', 6, **flexible)
    np.testing.assert_array_equal(rates_of(resumed), rates_of(whole)[18:])
    assert resumed.iter == 36
