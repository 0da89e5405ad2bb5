"""Runs that begin from weights, and runs that go on."""

from __future__ import annotations

import shutil
from argparse import Namespace

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

NEW_NECK = 'The neck is new, as that of the file does not fit: '
PATCHES_OF_16 = {
    'model.backbone.patch_size': 16, 'model.neck.num_patches': 4,
    'model.neck.patch_size': 16, 'model.head.patch_size': 16}


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

    def train(name='run', epochs=1, **options):
        cfg = tiny_cfg(name, **{
            'train_cfg.max_epochs': epochs, 'log_level': 'INFO',
            'resume': None, 'train_dataloader.dataset.indices': 4, **options})
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
def weights(finished):
    """Path and tensors of a run that has been trained."""
    path = str(finished(1, 'before')[0] / 'epoch_1.pth')
    return path, torch.load(path, weights_only=False)['state_dict']


def encoder_of(state):
    return {key: value for key, value in state.items()
            if key.startswith('backbone.')}


def assert_loaded(hook, state):
    assert not {key for key, value in state.items()
                if not torch.equal(hook.state[key], value)}


def test_a_run_begins_from_weights_and_goes_on(started, weights):
    path, state = weights
    hook, log = started(load_from=path)
    assert hook.epoch == 0
    assert_loaded(hook, state)
    assert f'a new run begins: encoder loaded from {path}: ' in log
    assert 'The neck is taken, too: 32 keys.' in log
    assert 'do not match exactly' not in log  # mmengine's warning
    # the same command says so, and one with a longer run goes on
    assert 'nothing to train: the run is at epoch 1 of ' in started(
        load_from=path)[1]
    hook, log = started(epochs=2, load_from=path)
    assert hook.epoch == 1 and 'resuming from' in log
    assert 'a new run' not in log
    assert started(epochs=3)[0].epoch == 2
    # without resume it begins again
    hook, _ = started(load_from=path, resume=False)
    assert hook.epoch == 0
    assert_loaded(hook, state)


@pytest.mark.parametrize('options, said', [
    ({'model.neck.decoder_depth': 1}, [NEW_NECK]),
    # fixed positions of the decoder belong to the config's size
    ({'model.backbone.img_size': 48, 'model.neck.num_patches': 36,
      'train_dataloader.dataset.pipeline.2.scale': 48,
      'train_dataloader.dataset.pipeline.4.input_size': 48},
     ['The neck is taken, too: ']),
    ({**PATCHES_OF_16, 'default_hooks.checkpoint.adapt': ['patch_size'],
      'train_dataloader.dataset.pipeline.4.patch_size': 16},
     ['patches 8 x 8 -> 16 x 16', 'grid 4 x 4 -> 2 x 2', NEW_NECK]),
], ids=['decoder', 'image size', 'patch size'])
def test_another_model(started, weights, options, said):
    path, state = weights
    hook, log = started(load_from=path, **options)
    assert all(line in log for line in said)
    is_new = NEW_NECK in said
    key = 'neck.decoder_embed.weight'
    assert torch.equal(hook.state[key], state[key]) != is_new
    assert_loaded(hook, {
        key: value for key, value in encoder_of(state).items()
        if 'embed' not in key or hook.state[key].shape == value.shape})


def test_an_encoder_alone(started, weights, tmp_path):
    encoder = encoder_of(weights[1])
    save_file({key.removeprefix('backbone.'): value
               for key, value in encoder.items()},
              tmp_path / 'encoder.safetensors')
    hook, log = started(load_from=f'{tmp_path}/encoder.safetensors')
    assert_loaded(hook, encoder)
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
    hook, log = started(load_from=path)
    assert hook.epoch == 0
    assert_loaded(hook, state)
    assert f'loaded from {path} (names of timm): took 30 keys' in log
    assert 'The neck is taken, too: 32 keys.' in log


def test_files_that_do_not_fit_stop_the_run(started, weights, tmp_path):
    path, state = weights
    other = str(tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='is not that of the config'):
        started(load_from=path, **PATCHES_OF_16)
    torch.save({'state_dict': {'x.y': torch.zeros(2)}}, other)
    with pytest.raises(ValueError, match='holds no encoder'):
        started(load_from=other)
    torch.save(dict(state_dict=state), other)
    with pytest.raises(ValueError, match='holds no run to resume'):
        started(resume=True, load_from=other)


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
