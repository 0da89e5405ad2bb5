"""Tiny runs of every method: losses, plans, weights and maps."""

from __future__ import annotations

import zlib

import numpy as np
import PIL
import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module(force=True)
class RecordBatches(Hook):
    """Record what the pipeline made of each batch."""

    def before_run(self, runner):
        self.sample_idx, self.plans, self.pixels = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        samples = data_batch['data_samples']
        self.sample_idx += [sample.sample_idx for sample in samples]
        self.plans.append([zlib.crc32(sample.mask_plan.tobytes())
                           for sample in samples])
        self.pixels.append(
            float(np.mean([image.float() for image in data_batch['inputs']])))


def scalars(runner, name):
    """Return a logged value of every iteration of a run."""
    return [float(value)
            for value in runner.message_hub.log_scalars[name].data[0]]


def train(cfg):
    """Train a config; return its runner and what it computed."""
    cfg.custom_hooks.append(dict(type='RecordBatches'))
    runner = Runner.from_cfg(cfg)
    runner.train()
    batches = next(h for h in runner.hooks if isinstance(h, RecordBatches))
    maps = np.load(f'{runner.work_dir}/saliency/epoch_0001.npy')['map']
    maps = maps.reshape(len(maps), -1).astype(np.float64)
    shares = maps / maps.sum(1, keepdims=True)
    return dict(
        loss=scalars(runner, 'train/loss'),
        grad_norm=scalars(runner, 'train/grad_norm'),
        p_masked_salient=scalars(runner, 'train/p_masked_salient'),
        sample_idx=batches.sample_idx,
        plans=batches.plans,
        pixels=batches.pixels,
        maps=dict(
            argmax=maps.argmax(1),
            mean=maps.mean(),
            spread=maps.std(1).mean(),
            entropy=-(shares * np.log(shares + 1e-12)).sum(1).mean()),
        weights={
            name: [value.double().sum().item(), value.double().norm().item()]
            for name, value in runner.model.state_dict().items()})


RUNS = {
    'mae': ('mae_amt_vit-t_30e_demo', 3, {}),
    'mae_cross': ('mae_amt-cross_vit-b_400e_in1k', 2, {
        'model.neck.inter_block': True}),
    'simmim': ('simmim_amt_vit-b_200e_in1k', 2, {}),
    'simmim_relative': ('simmim_amt_vit-b_200e_in1k', 2, {
        'model.backbone.type': 'amt_mm.AMTBEiTPretrainViT'}),
    # enough of it to show whether the maps are made in eval mode
    'simmim_drop_path': ('simmim_amt_vit-b_200e_in1k', 2, {
        'model.backbone.arch.num_layers': 3,
        'model.backbone.drop_path_rate': 0.5}),
    'maskfeat': ('maskfeat_amt_vit-b_300e_in1k', 2, {}),
}


# Pillow 13, which needs Python 3.11, rounds some bicubic pixels otherwise
old_pillow = pytest.mark.skipif(
    PIL.__version__ < '13', reason='Pillow 13 wrote the golden file')


@pytest.mark.parametrize('run', [
    pytest.param(run, marks=() if run.startswith('simmim') else old_pillow)
    for run in RUNS])
def test_run(golden, golden_cfg, run):
    name, num_epochs, options = RUNS[run]
    # the gradient of an L1 loss jumps where a pixel is met
    tolerance = 1e-4 if name.startswith('simmim') else 1e-5
    golden(run, train(golden_cfg(name, num_epochs, **options)),
           tolerance, tolerance)


@old_pillow
def test_stopped_and_resumed(golden, golden_cfg):
    name, num_epochs, options = RUNS['mae']
    train(golden_cfg(name, num_epochs - 1, **options))
    cfg = golden_cfg(name, num_epochs, **options, resume=True)
    cfg.experiment_name = f'{cfg.experiment_name}-resumed'
    found = train(cfg)
    golden('mae', {key: found[key] for key in ('loss', 'maps', 'weights')},
           is_part=True)
