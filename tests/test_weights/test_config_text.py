"""The config in a checkpoint is text from a stranger."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config
from small_configs import CONFIGS
from tiny_checkpoints import NORM, build, mae_config, save

from amt_mm.weights.config_text import parse_config
from amt_mm.weights.export import Normalization, open_checkpoint


@pytest.mark.parametrize('name', [
    'simmim_amt_vit-b_200e_in1k', 'mae_amt_vit-t_30e_demo'])
def test_a_dumped_config_is_read_as_it_was(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    # json knows no tuples
    assert json.dumps(parse_config(cfg.pretty_text), sort_keys=True) == \
        json.dumps(cfg.to_dict(), sort_keys=True)


def test_nothing_is_executed(tmp_path):
    harm = tmp_path / 'harm'
    text = '\n'.join([
        f'open({str(harm)!r}, "w")', f'a = open({str(harm)!r}, "w")',
        f'b = dict(x=open({str(harm)!r}, "w"))',
        f'c = [open({str(harm)!r}, "w") for _ in "x"]', 'd = dict(**e)',
        'e = dict([(1, 2)])', 'f = dict(x=-1, y=None)', 'import os'])
    assert parse_config(text) == dict(f=dict(x=-1, y=None))
    assert not harm.exists()


@pytest.mark.parametrize('text', ['model = dict(', '\0', '(' * 10000,
                                  'a = ' + '-' * 100000 + '1', ''])
def test_no_config_at_all(text):
    assert parse_config(text) == {}


def test_normalization(tmp_path):
    model, config = build(mae_config()), mae_config()
    path = save(model, tmp_path / 'run.pth', config)
    assert open_checkpoint(path).normalization == Normalization(
        (110, 120, 130), (50, 60, 70))
    bare = open_checkpoint(save(model, tmp_path / 'bare.pth'))
    assert bare.normalization == Normalization()
    mean, std = Normalization().scaled()
    assert mean == pytest.approx([0.485, 0.456, 0.406], abs=1e-6)
    assert std == pytest.approx([0.229, 0.224, 0.225], abs=1e-3)
    other = dict(data_preprocessor=dict(NORM, to_rgb=False), model=config)
    assert open_checkpoint(path, config=other).normalization.channels == 'BGR'
    # that of the tensors comes first
    state = model.state_dict()
    state['data_preprocessor.mean'] = torch.tensor([[[1.]], [[2.]], [[3.]]])
    state['data_preprocessor.std'] = torch.tensor([[[4.]], [[5.]], [[6.]]])
    torch.save(state, path)
    assert open_checkpoint(path).normalization == Normalization(
        (1, 2, 3), (4, 5, 6))
