"""Runs that begin from weights, and runs that go on."""

from __future__ import annotations

import shutil
from argparse import Namespace
from itertools import count

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from tiny_run import hook_of, log_of

from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.weights import open_weights
from amt_mm.weights.layouts import TIMM, TIMM_BLOCK, rename
from amt_mm.weights.load import start_from


@HOOKS.register_module(force=True)
class RecordStart(Hook):
    """Keep what other hooks see before training."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        self.epoch = runner.epoch
        self.state = {key: value.clone() for key, value in
                      unwrap_model(runner).state_dict().items()}


@pytest.fixture
def started(tiny_cfg, run):
    """Return a function that trains a run; its start and its log."""
    number = count()

    def train(name, epochs=1, **options):
        cfg = tiny_cfg(name, **{
            'train_cfg.max_epochs': epochs, 'log_level': 'INFO',
            'resume': None, 'train_dataloader.dataset.indices': 4, **options})
        cfg.experiment_name += f'-{next(number)}'
        cfg.custom_hooks = [dict(type='amt_mm.EpochSeedHook'),
                            dict(type='RecordStart')]
        cfg.train_dataloader.dataset.pipeline[4].ordering = dict(
            type='amt_mm.RandomOrdering')
        runner = run(cfg)
        hook, log = hook_of(runner, RecordStart), log_of(runner)
        # a run begun in the same second would write into the same
        shutil.rmtree(runner._log_dir)
        return hook, log

    return train


@pytest.fixture
def weights(started, tmp_path):
    """Path and tensors of a run that has been trained."""
    started('before')
    path = str(tmp_path / 'before' / 'epoch_1.pth')
    return path, torch.load(path, weights_only=False)['state_dict']


def assert_loaded(hook, state, but=()):
    changed = {key for key, value in state.items()
               if not torch.equal(hook.state[key], value)}
    assert changed == set(but)


def test_a_run_begins_from_weights_and_goes_on(started, weights):
    path, state = weights
    hook, log = started('run', load_from=path)
    assert hook.epoch == 0
    assert_loaded(hook, state)
    assert f'a new run begins: encoder loaded from {path}: ' in log
    assert 'The neck is taken, too: 32 keys.' in log
    assert 'do not match exactly' not in log  # mmengine's warning
    # the same command, and one with a longer run
    hook, log = started('run', epochs=2, load_from=path)
    assert hook.epoch == 1 and 'resuming from' in log
    assert 'a new run' not in log
    # without resume it begins again
    hook, _ = started('run', load_from=path, resume=False)
    assert hook.epoch == 0
    assert_loaded(hook, state)


def test_a_second_call_goes_on(started):
    assert started('run')[0].epoch == 0
    assert started('run', epochs=2)[0].epoch == 1
    assert started('run', resume=False)[0].epoch == 0


@pytest.mark.parametrize('options', [
    {'model.neck.decoder_depth': 1}, {'model.neck.decoder_embed_dim': 16}])
def test_another_decoder_is_new(started, weights, options):
    path, state = weights
    hook, log = started('run', load_from=path, **options)
    assert_loaded(hook, {key: value for key, value in state.items()
                         if key.startswith('backbone.')})
    assert 'The neck is new, as that of the file does not fit: ' in log
    key = 'neck.decoder_embed.weight'
    assert not torch.equal(hook.state[key], state[key])


def test_another_size_of_image(started, weights):
    """Fixed positions of the decoder belong to the config's size."""
    path, state = weights
    hook, log = started('run', load_from=path, **{
        'model.backbone.img_size': 48, 'model.neck.num_patches': 36,
        'train_dataloader.dataset.pipeline.2.scale': 48,
        'train_dataloader.dataset.pipeline.4.input_size': 48})
    assert_loaded(hook, {key: value for key, value in state.items()
                         if 'pos_embed' not in key})
    assert 'The neck is taken, too: ' in log
    assert hook.state['neck.decoder_pos_embed'].shape == (1, 37, 32)


def test_an_encoder_alone(started, weights, tmp_path):
    _, state = weights
    encoder = {key.removeprefix('backbone.'): value
               for key, value in state.items() if key.startswith('backbone.')}
    save_file(encoder, tmp_path / 'encoder.safetensors')
    hook, log = started('run', load_from=f'{tmp_path}/encoder.safetensors')
    assert_loaded(hook, {key: value for key, value in state.items()
                         if key.startswith('backbone.')})
    assert 'file does not fit: the file lacks ' in log


def test_a_release_with_its_decoder(started, weights, tmp_path):
    """By the names of timm, and with the arguments of the script."""
    _, state = weights
    release = {}
    for key, value in state.items():
        part, _, name = key.partition('.')
        names, blocks = (TIMM, 'blocks') if part == 'backbone' else (
            {'ln1.': 'decoder_norm.'}, 'decoder_blocks')
        release[rename(name, names, TIMM_BLOCK, blocks)] = value
    path = str(tmp_path / 'mae_pretrain.pth')
    torch.save(dict(model=release, args=Namespace(lr=1.), epoch=800), path)
    hook, log = started('run', load_from=path)
    assert hook.epoch == 0
    assert_loaded(hook, state)
    assert f'loaded from {path} (names of timm): took 30 keys' in log
    assert 'The neck is taken, too: 32 keys.' in log


def test_an_encoder_that_does_not_fit_stops_the_run(
        started, weights, tmp_path):
    path, _ = weights
    with pytest.raises(ValueError, match='is not that of the config'):
        started('run', load_from=path, **{'model.backbone.patch_size': 16,
                                          'model.neck.num_patches': 4,
                                          'model.neck.patch_size': 16,
                                          'model.head.patch_size': 16})
    torch.save({'state_dict': {'x.y': torch.zeros(2)}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='holds no encoder'):
        started('run', load_from=f'{tmp_path}/x.pth')


def test_other_patches_on_request(started, weights):
    path, _ = weights
    _, log = started('run', load_from=path, **{
        'default_hooks.checkpoint.adapt': ['patch_size'],
        'model.backbone.patch_size': 16, 'model.neck.num_patches': 4,
        'model.neck.patch_size': 16, 'model.head.patch_size': 16,
        'train_dataloader.dataset.pipeline.4.patch_size': 16})
    assert 'patches 8 x 8 -> 16 x 16' in log and 'grid 4 x 4 -> 2 x 2' in log
    assert 'The neck is new, as that of the file does not fit: ' in log


def test_weights_alone_are_no_run_to_resume(started, weights, tmp_path):
    _, state = weights
    torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match='holds no run to resume'):
        started('run', resume=True, load_from=f'{tmp_path}/weights.pth')


def test_a_finished_run_says_so(started):
    started('run')
    _, log = started('run')
    assert 'nothing to train: the run is at epoch 1 of ' in log


def test_of_another_model_the_rest_is_left_to_mmengine(weights, tiny_arch):
    path, state = weights
    model = MODELS.build(dict(
        type='ImageClassifier',
        backbone=dict(type='VisionTransformer', arch=tiny_arch, img_size=32,
                      patch_size=8),
        head=dict(type='VisionTransformerClsHead', num_classes=3,
                  in_channels=32)))
    head = {key: value for key, value in model.state_dict().items()
            if key.startswith('head.')}
    loaded, report = start_from(model, open_weights({**state, **head}, path),
                                grid=(4, 4))
    assert 'encoder loaded' in report
    assert {key for key in loaded if not key.startswith('backbone.')} == {
        *head}
    model.load_state_dict(loaded, strict=True)
