"""A model is loaded whole, or its encoder alone, and nothing in between."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from tiny_checkpoints import build, mae_config
from torch import nn

from amt_mm.weights import load_model, open_weights

CONFIG = mae_config()


@pytest.fixture
def state():
    return build(CONFIG).state_dict()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(CONFIG)


def load(model: nn.Module, state: dict,
         grid: tuple[int, int] | None = None) -> tuple[str, bool]:
    weights = open_weights(dict(state_dict=state), 'FILE')
    return load_model(model, weights, grid)


@pytest.mark.parametrize('change', [
    lambda key: key, lambda key: f'module.{key}',
    lambda key: key.removeprefix('backbone.')])
def test_all_of_it(model, state, change):
    report, is_whole = load(model, {change(k): v for k, v in state.items()})
    assert is_whole and 'model loaded from FILE' in report
    assert 'left nothing; lacked, so new: nothing.' in report
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize('prefix', ['backbone.', ''])
def test_the_encoder_alone_is_said(model, state, prefix):
    own = {k.replace('backbone.', prefix): v for k, v in state.items()
           if k.startswith('backbone.')}
    report, is_whole = load(model, own)
    assert not is_whole and 'encoder loaded from FILE' in report
    assert 'lacked, so new: 32 keys (neck 32)' in report
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[f'backbone.{key}']), key


@pytest.mark.parametrize(('lost', 'message'), [
    ('neck.decoder_pred.bias', 'the file lacks neck.decoder_pred.bias'),
    ('backbone.layers.1.ln2.bias', 'the file lacks'),
    ('backbone.ln1.bias', 'the file lacks backbone.ln1.bias'),
    ('backbone.', 'holds no encoder')])
def test_a_part_is_refused(model, state, lost, message):
    part = {k: v for k, v in state.items() if not k.startswith(lost)}
    with pytest.raises(ValueError, match=message):
        load(model, part)


def test_another_size_is_refused(model):
    with pytest.raises(ValueError, match='FILE does not fit AMTMAE: .*neck'):
        load(model, build(mae_config((32, 64))).state_dict(), (4, 8))
    narrow = build(CONFIG).state_dict()
    for key in [k for k in narrow if 'layers.1.' in k]:
        del narrow[key]
    with pytest.raises(ValueError, match='depth 1 instead of 2'):
        load(model, narrow)


def test_a_model_without_a_backbone():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='the file lacks weight, bias'):
        load(model, dict(other=torch.zeros(2)))
    assert load(model, nn.Linear(2, 2).state_dict())[1]


def test_what_is_left_of_other_parts_is_named(model, state):
    report, is_whole = load(model, {**state, 'extra.x': torch.zeros(2)})
    assert is_whole and 'left extra.x;' in report
