"""Probe, checkup, localization and pictures together: they only look."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import FUNCTIONS, VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization.vis_backend import BaseVisBackend
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from processes import train_together
from tiny_run import (
    FSDP,
    SAME_SEED,
    WORKERS,
    assert_same_weights,
    hook_of,
    lines_of,
    log_of,
    loss_trace,
    pictures_of,
    scalars_of,
)

from amt_mm.engine.hooks import (
    AMTVisualizationHook,
    CheckupHook,
    LocalizationHook,
    ProbeHook,
)
from amt_mm.engine.hooks.visualization_hook import random_numbers_kept
from amt_mm.evaluation import localize, masks_from_folder

PREFIXES = 'probe/', 'checkup/', 'localization/'


@pytest.fixture
def masks(images):
    return str(images.parent / 'semantic' / 'train')


@pytest.fixture
def watched_cfg(tiny_cfg, images, demo_data, masks):
    """Return a function that makes the config of a run with all four."""

    def make(work_dir, **options):
        return tiny_cfg(work_dir, **{
            'default_hooks.probe': dict(
                type='amt_mm.ProbeHook', interval=2, dataset=str(images), k=2),
            'default_hooks.checkup': dict(
                type='amt_mm.CheckupHook', interval=2, num_images=7,
                batch_size=1, heldout=str(demo_data / 'val')),
            'default_hooks.localization': dict(
                type='amt_mm.LocalizationHook', interval=2,
                images=str(images), masks=masks),
            'default_hooks.visualization': dict(
                type='amt_mm.AMTVisualizationHook', interval=2, num_images=3),
            'log_level': 'INFO',
            **options
        })

    return make


def numbers_of(path):
    """Return what was found, by epoch and name, from a JSON log."""
    return {(line['epoch'], name): value for line in lines_of(path)
            for name, value in line.items() if name.startswith(PREFIXES)}


def test_a_run_is_the_one_without_them_and_resumes_with_them(
        watched_cfg, run, finished, images, masks):
    work_dir, losses = finished(name='plain')
    runner = run(watched_cfg('watched', **WORKERS))
    np.testing.assert_array_equal(loss_trace(runner), losses)
    plain = torch.load(work_dir / 'epoch_5.pth', weights_only=False)
    assert_same_weights(runner.model, plain['state_dict'])
    maps = Path('saliency', 'epoch_0003.npy')
    assert (work_dir / maps).read_bytes() == Path(
        runner.work_dir, maps).read_bytes()

    numbers = numbers_of(scalars_of(runner))
    for prefix in PREFIXES:
        assert {epoch for epoch, name in numbers if name.startswith(prefix)
                } == {0, 2, 4, 5}
    last = localize(runner.model, masks_from_folder(images, masks), (32, 32))
    for name, value in last.as_dict().items():
        assert numbers[5, f'localization/{name}'] == pytest.approx(value)
    assert f'localization: epoch 5, {last}' in log_of(runner)

    cfg = watched_cfg('again', resume=True,
                      load_from=f'{runner.work_dir}/epoch_3.pth')
    shutil.copytree(f'{runner.work_dir}/saliency', f'{cfg.work_dir}/saliency')
    again = run(cfg)
    assert numbers_of(scalars_of(again)) == {
        key: value for key, value in numbers.items() if key[0] > 3}
    at_first = f'(at first {numbers[0, "checkup/loss"]:.4f})'
    assert at_first in log_of(again)

    pictures = pictures_of(runner)
    assert [path.name for path in pictures] == [
        f'panels_{epoch}.png' for epoch in (0, 2, 4, 5)]
    assert [path.read_bytes() for path in pictures_of(again)] == [
        path.read_bytes() for path in pictures[2:]]
    first, *_, last = (mmcv.imread(path) for path in pictures)
    column = 256 + 12  # the images stand in the first one
    np.testing.assert_array_equal(
        first[:, :column - 12], last[:, :column - 12])
    # reconstructions differ, as the weights do
    assert (first[:, 3 * column:] != last[:, 3 * column:]).any()


# ---- two processes


@VISBACKENDS.register_module(force=True)
class Collect(BaseVisBackend):
    """Keep the pictures of a process, as a backend that sends them would."""

    pictures: list = []

    def _init_env(self):
        """Nothing to open."""

    @property
    def experiment(self):
        return self

    def add_image(self, name, image, step=0, **kwargs):
        self.pictures.append((name, step, image))


@FUNCTIONS.register_module(force=True)
def wrap_layers(module, recurse, nonwrapped_numel, **kwargs):
    """Shard each layer by itself."""
    return recurse or isinstance(module, TransformerEncoderLayer)


def _save(rank, runner):
    probe = hook_of(runner, ProbeHook)
    found = dict(features=probe.features(runner, probe.bank), drawn=[
        f'{name}_{step}' for name, step, _ in Collect.pictures])
    torch.save(found, f'{runner.work_dir}/found_{rank}.pth')


@pytest.fixture
def backends(monkeypatch):
    monkeypatch.setattr(Collect, 'pictures', [])
    return {'visualizer.vis_backends': [dict(type='LocalVisBackend'),
                                        dict(type='Collect')]}


def test_two_processes_find_what_one_does(watched_cfg, run, backends):
    """Numbers, features and pictures, also of weights that are sharded.

    22 images, 7 of a checkup and 8 held out divide into unequal shares.
    """
    options = {**SAME_SEED, **backends, 'train_cfg.max_epochs': 1,
               'optim_wrapper.optimizer.lr': 0.}
    alone = run(watched_cfg('alone', **options))
    _save(0, alone)
    expected = torch.load(f'{alone.work_dir}/found_0.pth')
    assert expected['drawn'] == ['panels_0', 'panels_1']
    strategy = dict(FSDP['strategy'], model_wrapper=dict(
        auto_wrap_policy='wrap_layers'))
    Collect.pictures.clear()
    for name, how in dict(joint={}, sharded=FSDP,
                          layers=dict(FSDP, strategy=strategy)).items():
        cfg = watched_cfg(name, **options, **how)
        assert train_together([cfg] * 2, inspect=_save) == [None] * 2
        path = next(Path(cfg.work_dir).glob('*/vis_data/scalars.json'))
        numbers = numbers_of(path)
        assert len(numbers) > 20
        assert numbers == pytest.approx(
            numbers_of(scalars_of(alone)), rel=1e-3, abs=1e-3), name
        for rank, drawn in enumerate((expected['drawn'], [])):
            found = torch.load(f'{cfg.work_dir}/found_{rank}.pth')
            torch.testing.assert_close(
                found['features'], expected['features'], rtol=1e-4, atol=1e-5)
            assert found['drawn'] == drawn


# ---- pictures


def test_every_backend_gets_the_pictures(tiny_cfg, run, backends):
    """Fewer images than asked for, of a folder of four."""
    path, = pictures_of(run(tiny_cfg(**backends, **{
        'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 4,
        'default_hooks.visualization': dict(
            type='amt_mm.AMTVisualizationHook', name='seen', num_images=9,
            at_start=False)})))
    (name, step, image), = Collect.pictures
    assert (name, step) == ('seen', 1) and path.name == 'seen_1.png'
    assert len(image) > 4 * 256
    np.testing.assert_array_equal(
        image, mmcv.imread(path, channel_order='rgb'))


def test_random_numbers_are_kept_where_drawing_fails():
    draws = []
    for is_drawn in (False, True):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if is_drawn:
            with pytest.raises(OSError, match='disk'), random_numbers_kept():
                random.random(), np.random.random(), torch.rand(1)
                raise OSError('disk full')
        draws.append((random.random(), np.random.random(),
                      torch.rand(1).item()))
    assert draws[0] == draws[1]


# ---- what they refuse


@pytest.mark.parametrize(('kind', 'options', 'message'), [
    *((ProbeHook, {name: value}, f'{name} must be .*{value}')
      for name, value in dict(
          interval=0, k=0, temperature=-1., max_images=2, batch_size=0,
          num_workers=-1).items()),
    (CheckupHook, dict(interval=0), 'interval must be .*0'),
    (CheckupHook, dict(num_images=1), 'num_images must be .*1'),
    (CheckupHook, dict(batch_size=0), 'batch_size must be .*0'),
    (AMTVisualizationHook, dict(interval=0), 'interval must be .*0'),
    (AMTVisualizationHook, dict(num_images=0), 'num_images must be .*0'),
    (AMTVisualizationHook, dict(name=3), 'name must be .*3'),
    (LocalizationHook, dict(images='x'), 'either masks or boxes, got'),
    (LocalizationHook, dict(images='x', masks='a', boxes='b'),
     'either masks or boxes, got'),
])
def test_wrong_arguments(kind, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kind(**options)


@pytest.mark.parametrize('hook, folder, message', [
    ('localization', 'masks', 'nowhere'),
    ('checkup', 'heldout', 'data_root must be a folder')])
def test_a_missing_folder(watched_cfg, hook, folder, message, tmp_path):
    cfg = watched_cfg('run')
    cfg.default_hooks[hook][folder] = str(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=message):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('hook', ['probe', 'checkup'])
def test_runs_that_do_not_count_epochs(watched_cfg, hook):
    cfg = watched_cfg('run', train_cfg=dict(
        _delete_=True, type='IterBasedTrainLoop', max_iters=2))
    cfg.custom_hooks = []
    cfg.default_hooks = {hook: cfg.default_hooks[hook]}
    with pytest.raises(ValueError, match='Hook counts epochs'):
        Runner.from_cfg(cfg).train()
