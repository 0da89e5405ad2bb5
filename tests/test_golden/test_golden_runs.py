"""Tiny runs of every method: losses, plans, weights and maps."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

CONFIGS = Path(__file__).parents[2] / 'configs'
ARCH = dict(
    embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)


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


@pytest.fixture
def golden_cfg(golden_images, tmp_path):
    """Return a function that shrinks a shipped config to a run of seconds."""

    def make(name, num_epochs, **options):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        dataset = dict(
            type='amt_mm.ImageFolder', data_root=str(golden_images),
            pipeline=cfg.train_dataloader.dataset.pipeline)
        cfg.train_dataloader = dict(
            batch_size=4, num_workers=0, dataset=dataset,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True))
        crop, generator = dataset['pipeline'][2], dataset['pipeline'][4]
        # its resizing gives the same pixels on every machine
        crop.update(scale=64, backend='pillow')
        generator.input_size = 64
        generator.patch_size = 8
        model = cfg.model
        model.backbone.update(arch=ARCH, img_size=64, patch_size=8)
        if name.startswith('mae'):
            model.neck.update(
                num_patches=64, patch_size=8, embed_dim=32,
                decoder_embed_dim=32, decoder_depth=2, decoder_num_heads=4)
            model.head.patch_size = 8
        elif name.startswith('simmim'):
            generator.cell_size = 16
            model.neck.in_channels = 32
            model.neck.encoder_stride = model.head.patch_size = 8
        else:
            model.neck.update(in_channels=32, out_channels=27)
            model.target_generator.patch_size = 8
        # a larger eps: what has a gradient of nothing but rounding errors,
        # such as the bias of the keys, stays where it is on every machine
        cfg.optim_wrapper.optimizer.update(lr=1e-2, eps=1e-4)
        # which also logs the norm of the gradients
        cfg.optim_wrapper.setdefault('clip_grad', dict(max_norm=1e9))
        cfg.param_scheduler = []
        cfg.train_cfg.max_epochs = num_epochs
        cfg.randomness = dict(seed=0)
        cfg.custom_hooks[1].update(interval=2, begin=1)
        cfg.custom_hooks.append(dict(type='RecordBatches'))
        cfg.default_hooks.pop('visualization')
        cfg.default_hooks.logger.interval = 1
        cfg.default_hooks.checkpoint.interval = 1
        cfg.log_level = 'WARNING'
        cfg.work_dir = str(tmp_path / 'run')
        cfg.experiment_name = tmp_path.name
        cfg.merge_from_dict(options)
        return cfg

    return make


def scalars(runner, name):
    """Return a logged value of every iteration of a run."""
    return [float(value)
            for value in runner.message_hub.log_scalars[name].data[0]]


def train(cfg):
    """Train a config; return its runner and what it computed."""
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
    'simmim': ('simmim_amt_vit-b_200e_in1k', 2, {}),
    'simmim_relative': ('simmim_amt_vit-b_200e_in1k', 2, {
        'model.backbone.type': 'amt_mm.AMTBEiTPretrainViT'}),
    'maskfeat': ('maskfeat_amt_vit-b_300e_in1k', 2, {}),
}


@pytest.mark.parametrize('run', RUNS)
def test_run(golden, golden_cfg, run):
    name, num_epochs, options = RUNS[run]
    # the gradient of an L1 loss jumps where a pixel is met
    tolerance = 1e-4 if name.startswith('simmim') else 1e-5
    golden(run, train(golden_cfg(name, num_epochs, **options)),
           tolerance, tolerance)


def test_stopped_and_resumed(golden, golden_cfg):
    name, num_epochs, options = RUNS['mae']
    train(golden_cfg(name, num_epochs - 1, **options))
    cfg = golden_cfg(name, num_epochs, **options, resume=True)
    cfg.experiment_name = f'{cfg.experiment_name}-resumed'
    found = train(cfg)
    golden('mae', {key: found[key] for key in ('loss', 'maps', 'weights')},
           is_part=True)
