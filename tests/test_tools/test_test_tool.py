"""``tools/test.py`` measures a model that is loaded whole, or nothing."""

from __future__ import annotations

import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from small_configs import read_config

CONFIG = 'configs/classification/vit-t_finetune_demo.py'
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
OPTIONS = {
    **{f'model.backbone.arch.{key}': value for key, value in ARCH.items()},
    'model.backbone.arch._delete_': True, 'model.head.in_channels': 32,
    'model.head.num_classes': 2, 'test_dataloader.num_workers': 0}


@pytest.fixture(scope='module')
def state(pytestconfig):
    cfg = read_config(pytestconfig.rootpath / CONFIG)
    cfg.merge_from_dict(OPTIONS)
    init_default_scope('mmpretrain')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.nn.init.normal_(model.head.fc.weight)
    return model.state_dict()


@pytest.fixture
def test(tool, demo_data, tmp_path):
    """Return a function that writes a checkpoint and tests it."""

    def run(state, **meta):
        path = tmp_path / 'epoch_1.pth'
        torch.save(dict(state_dict=state, meta=meta), path)
        return tool('test', CONFIG, path, '--work-dir', tmp_path / 'run',
                    '--cfg-options', f'data_root={demo_data}',
                    *(f'{key}={value}' for key, value in OPTIONS.items()))

    return run


def test_whole_model_and_keys_without_their_prefix(test, state):
    bare = {key.removeprefix('backbone.'): value
            for key, value in state.items()}
    found = []
    for own in (state, bare):
        result = test(own)
        assert result.returncode == 0, result.stderr[-2000:]
        assert 'left nothing; lacked, so new: nothing.' in result.stdout
        found.append(re.findall(r'accuracy/top1: ([\d.]+)', result.stdout))
    assert found[0] == found[1] and found[0]


def test_a_part_is_not_measured(test, state):
    """Other parts are in test_weights/test_load.py."""
    result = test({key: value for key, value in state.items()
                   if not key.startswith('head.')})
    assert result.returncode == 1
    assert 'must hold the whole model, got an encoder alone' in result.stderr
    assert 'accuracy/top1' not in result.stdout


def test_positions_of_another_grid(test, state):
    """They go in as they lie, and mmengine does not put others there."""
    narrow = {**state, 'backbone.pos_embed': torch.randn(1, 65, 32)}
    result = test(narrow, grid=[4, 16])
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'grid 4 x 16 -> 8 x 8' in result.stdout
