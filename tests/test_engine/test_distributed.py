"""Several processes, one node or more, make one training of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from processes import train_together
from tiny_run import CROSS, FSDP, NUM_IMAGES, SAME_SEED, hook_of, store_of

from amt_mm.engine.sources.model_saliency import full_params
from amt_mm.saliency import SaliencyStore


@HOOKS.register_module(force=True)
class RecordGradients(Hook):
    """Keep the gradients of the first step."""

    def before_train(self, runner):
        self.gradients = {}
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: self.record(runner))

    def record(self, runner):
        if not self.gradients:
            self.gradients = {
                name.removeprefix('module.'): p.grad.clone()
                for name, p in runner.model.named_parameters()
                if p.grad is not None
            }


def _save(rank, runner):
    """Write what a process has: its maps and its first gradients."""
    store = store_of(runner)
    maps = [store.read(i) for i in range(store.num_images)]
    if maps[0] is not None:
        np.save(f'{runner.work_dir}/maps_{rank}.npy', maps)
    if any(isinstance(h, RecordGradients) for h in runner.hooks):
        torch.save(hook_of(runner, RecordGradients).gradients,
                   f'{runner.work_dir}/gradients_{rank}.pth')


@pytest.mark.parametrize('decoder', [{}, CROSS], ids=['MAE', 'cross'])
def test_processes_make_the_maps_and_gradients_of_one(
        tiny_cfg, run, tmp_path, decoder):
    """22 images divide neither by 3 processes nor by their batches of 4.

    Nodes, with a folder of each or one of all, are in test_launchers.py.
    """
    def make(name, batch_size):
        cfg = tiny_cfg(name, **SAME_SEED, **decoder, **{
            'train_cfg.max_epochs': 2, 'optim_wrapper.optimizer.lr': 0.,
            # the first twelve are the first batch, however it is shared
            'train_dataloader.sampler.shuffle': False,
            'train_dataloader.batch_size': batch_size})
        cfg.custom_hooks.append(dict(type='RecordGradients'))
        return cfg

    alone = run(make('alone', 12))
    cfg = make('together', 4)
    assert train_together([cfg] * 3, inspect=_save) == [None] * 3
    maps = np.load(store_of(alone).path(1))['map']
    assert maps.shape == (NUM_IMAGES, 4, 4) and maps.std() > 0.1
    gradients = hook_of(alone, RecordGradients).gradients
    for rank in range(3):
        found = np.load(f'{cfg.work_dir}/maps_{rank}.npy')
        np.testing.assert_allclose(found, maps, atol=1e-3)
        found = torch.load(f'{cfg.work_dir}/gradients_{rank}.pth')
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                found[name], gradient, rtol=1e-4, atol=1e-7)
    assert not list(tmp_path.rglob('*.part'))


@pytest.mark.parametrize('failing', [0, 1])
def test_a_checkpoint_that_one_node_cannot_save_stops_all(
        tiny_cfg, monkeypatch, failing):
    nodes = [tiny_cfg(f'node{n}', **SAME_SEED, **FSDP) for n in (0, 1)]
    genuine = os.replace

    def replace(part, path):
        if f'node{failing}/epoch_2.pth' in str(path):
            raise OSError(28, 'No space left on device')
        genuine(part, path)

    monkeypatch.setattr(os, 'replace', replace)
    texts = train_together(nodes, [0, 0])
    assert 'epoch_2.pth: No space left on device' in texts[failing]
    assert 'epoch_2.pth: see the log of another' in texts[1 - failing]
    for cfg in nodes:
        assert Path(cfg.work_dir, 'epoch_1.pth').is_dir()
        assert not list(Path(cfg.work_dir).glob('*.part'))


@pytest.fixture
def twelve(tiny_cfg):
    """Return a function that makes a run of 12 images in an iteration."""

    def make(name, epochs, num_processes, **options):
        return tiny_cfg(name, **SAME_SEED, **options, **{
            'train_cfg.max_epochs': epochs, 'resume': True,
            'train_dataloader.batch_size': 12 // num_processes,
            'train_dataloader.dataset.indices': 12,
            'experiment_name': f'{name}-{epochs}'})

    return make


def test_resume_with_another_number_of_processes(twelve, run, tmp_path):
    """One process, then two, then three, end where one would."""
    run(twelve('alone', 3, 1))
    run(twelve('changing', 1, 1))
    for num in (2, 3):
        cfg = twelve('changing', num, num)
        assert train_together([cfg] * num) == [None] * num
    first, second = (
        torch.load(tmp_path / name / 'epoch_3.pth', weights_only=False)
        for name in ('alone', 'changing'))
    assert first['saliency_generation'] == second['saliency_generation'] == 1
    for name, weight in first['state_dict'].items():
        torch.testing.assert_close(
            second['state_dict'][name], weight, rtol=1e-3, atol=1e-5)


def test_nodes_that_differ_are_refused(tiny_cfg, finished):
    finished(2, 'node0')
    nodes = [tiny_cfg(f'node{n}', resume=True, **SAME_SEED) for n in (0, 1)]
    for text in train_together(nodes, [0, 0]):
        assert 'resumes from epoch_2.pth, which the processes [1] do not' in \
            text
    for cfg, epoch in zip(nodes, (1, 2), strict=True):
        cfg.load_from = f'{nodes[0].work_dir}/epoch_{epoch}.pth'
    for text in train_together(nodes, [0, 0]):
        assert '(epoch, iter) [(1, 3), (2, 6)]' in text
    for cfg in nodes:
        cfg.update(resume=False, load_from=None)
    nodes[1].train_dataloader.dataset.indices = NUM_IMAGES - 1
    for text in train_together(nodes, [0, 0]):
        assert 'train on the same images in the same order' in text
        assert f'({NUM_IMAGES}, ' in text and f'({NUM_IMAGES - 1}, ' in text


def test_a_disk_that_fails_on_one_node_stops_all(tiny_cfg, monkeypatch):
    nodes = [tiny_cfg(f'node{n}', **SAME_SEED) for n in (0, 1)]
    genuine = SaliencyStore.write

    def write(store, generation, *args):
        if generation == 3 and 'node1' in str(store.root):
            raise OSError(28, 'No space left on device')
        genuine(store, generation, *args)

    monkeypatch.setattr(SaliencyStore, 'write', write)
    first, second = train_together(nodes, [0, 0])
    assert 'see the log of another node' in first
    assert 'No space left on device' in second
    assert 'of generation 1, are whole' in second
    for cfg, current in zip(nodes, (3, 1), strict=True):
        manifest = Path(cfg.work_dir, 'saliency', 'manifest.json')
        assert json.loads(manifest.read_text())['current'] == current


def _save_whole(rank, runner):
    with full_params(runner.model):
        weights = {
            name.replace('_fsdp_wrapped_module.', ''): p.detach().clone()
            for name, p in runner.model.named_parameters()
        }
    torch.save(weights, f'{runner.work_dir}/weights_{rank}.pth')


def test_fsdp_trains_updates_saves_and_resumes(twelve, run):
    """Weights sharded over two processes become those of one."""
    cross = {**CROSS, 'model.neck.inter_block': True}
    alone = run(twelve('alone', 3, 1, **cross))
    for epochs in (2, 3):
        cfg = twelve('sharded', epochs, 2, **cross, **FSDP)
        assert train_together([cfg] * 2, inspect=_save_whole) == [None] * 2
    one, two = (np.load(f'{runner.work_dir}/saliency/epoch_0001.npy')['map']
                for runner in (alone, cfg))
    np.testing.assert_allclose(one, two, atol=1e-3)
    shards = sorted(p.name for p in Path(cfg.work_dir, 'epoch_3.pth').iterdir()
                    )
    assert shards == ['rank0.pth', 'rank1.pth']
    found = torch.load(f'{cfg.work_dir}/weights_1.pth')
    for name, weight in alone.model.named_parameters():
        torch.testing.assert_close(
            found[name], weight.detach(), rtol=1e-3, atol=5e-5)


def test_fsdp_on_a_cpu_refuses_to_save_whole_weights(tiny_cfg):
    cfg = tiny_cfg('full', **SAME_SEED, **FSDP)
    cfg.strategy.state_dict_cfg = 'full'
    for text in train_together([cfg] * 2):
        assert "state_dict_cfg must be 'local'" in text and "'full'" in text
