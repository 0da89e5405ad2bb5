"""A run of the demo's config, shrunk to seconds, on generated images."""

from __future__ import annotations

import shutil
from uuid import uuid4

import numpy as np
import pytest
from mmengine.runner import Runner
from small_configs import read_config
from tiny_run import loss_trace


@pytest.fixture(scope='session')
def images(demo_data):
    """Return a folder of JPEGs; 22 do not divide by 4, the batch size."""
    return demo_data / 'train'


@pytest.fixture
def tiny_cfg(images, tmp_path):
    """Return a function that makes the config of a tiny run.

    Of one process: a test whose subject is the workers adds ``WORKERS``.
    """

    def make(work_dir='run', **options):
        cfg = read_config('mae_amt_vit-t_30e_demo')
        cfg.merge_from_dict({
            'work_dir': str(tmp_path / work_dir),
            'experiment_name': f'{tmp_path.name}-{work_dir}',
            'model.backbone.arch': dict(
                _delete_=True,
                embed_dims=32, num_layers=2, num_heads=4,
                feedforward_channels=64),
            'model.backbone.img_size': 32,
            'model.neck.num_patches': 16,
            'model.neck.embed_dim': 32,
            'model.neck.decoder_embed_dim': 32,
            'train_dataloader.dataset.data_root': str(images),
            'train_dataloader.batch_size': 4,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'optim_wrapper.type': 'OptimWrapper',
            'train_cfg.max_epochs': 5,
            'param_scheduler': [],
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': 10,
            'log_level': 'WARNING',
        })
        cfg.optim_wrapper.pop('loss_scale')
        cfg.default_hooks.pop('visualization')  # has tests of its own
        pipeline = cfg.train_dataloader.dataset.pipeline
        pipeline[2].scale = 32
        pipeline[4].input_size = 32
        cfg.custom_hooks[1].update(interval=2, begin=1)
        cfg.custom_hooks[2].update(interval=1)
        cfg.merge_from_dict(options)
        return cfg

    return make


@pytest.fixture(scope='session')
def finished_runs(tmp_path_factory):
    """Return a folder and what ``finished`` knows of the runs in it."""
    return tmp_path_factory.mktemp('finished'), {}


@pytest.fixture
def finished(tiny_cfg, run, tmp_path, finished_runs):
    """Return a function that gives what ``run(tiny_cfg(name))`` leaves.

    A run of that many epochs is trained once a session, and its work dir is
    copied. The function returns the copy and the losses of the run.
    """
    root, losses = finished_runs

    def copy(epochs=5, name='run'):
        work_dir = root / str(epochs)
        if epochs not in losses:
            cfg = tiny_cfg('first', **{'train_cfg.max_epochs': epochs})
            cfg.work_dir = str(work_dir)
            losses[epochs] = np.array(loss_trace(run(cfg)))
        shutil.copytree(work_dir, tmp_path / name)
        last = tmp_path / name / f'epoch_{epochs}.pth'
        (tmp_path / name / 'last_checkpoint').write_text(str(last))
        return tmp_path / name, losses[epochs]

    return copy


@pytest.fixture
def run():
    """Return a function that trains a config and returns its runner."""

    def train(cfg):
        cfg.experiment_name = uuid4().hex  # mmengine would join the logs
        runner = Runner.from_cfg(cfg)
        try:
            runner.train()
        finally:
            iterator = getattr(runner.train_dataloader, '_iterator', None)
            if iterator is not None:
                # left to the garbage collector, each worker costs 5 seconds
                iterator._shutdown_workers()
        return runner

    return train
