"""An encoder or a model is loaded whole, and stays, or the run stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmpretrain.models import SwinTransformer
from test_models.tiny_models import maskfeat_config
from tiny_checkpoints import (
    ARCH,
    PLAIN,
    SIDE,
    build,
    classifier_config,
    mae_config,
    save,
    simmim_config,
    vit,
)
from torch import nn

from amt_mm.weights import (
    load_encoder,
    load_model,
    open_weights,
    read_state_dict,
)

CONFIG = mae_config()
CONFIGS = {
    **{name: PLAIN[name] for name in ('mae', 'simmim', 'classifier')},
    'simmim, relative': simmim_config('AMTBEiTPretrainViT'),
    'maskfeat': maskfeat_config(),
    'vitdet': dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='amt_mm.ViTDet', arch=ARCH, img_size=32,
                      patch_size=SIDE, window_size=2)),
    'classifier, mean': classifier_config(
        out_type='avg_featmap', final_norm=False),
}


@pytest.fixture
def pretrained(tmp_path):
    """A whole model's checkpoint."""
    return save(build(CONFIG), tmp_path / 'mae.pth', CONFIG)


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


# ---- an encoder


def test_report_names_what_was_taken_left_and_lacked(pretrained):
    report = load_encoder(
        vit(out_type='avg_featmap', final_norm=False), pretrained)
    assert ('took 28 keys (cls_token 1, pos_embed 1, patch_embed 2, '
            'layers 24)') in report
    assert 'left 34 keys (ln1 2, neck 32)' in report
    assert 'resized nothing' in report
    assert 'lacked, so new: ln2.weight, ln2.bias.' in report


@pytest.mark.parametrize('make, message', [
    (lambda: vit(dict(ARCH, feedforward_channels=96)), 'size mismatch'),
    (lambda: vit(qkv_bias=False), 'the model lacks layers.0.attn.qkv.bias'),
    (lambda: vit(dict(ARCH, embed_dims=48), patch_size=4),
     'width 32 instead of 48, patch_size 8 instead of 4'),
    (lambda: SwinTransformer(dict(
        embed_dims=32, depths=[1] * 4, num_heads=[4] * 4), 32, SIDE),
     'num_heads 4 instead of')])
def test_another_architecture_is_refused(pretrained, make, message):
    with pytest.raises(ValueError, match=rf'mae.pth .*{message}'):
        load_encoder(make(), pretrained)


# ---- a model


@pytest.mark.parametrize('change', [
    lambda key: key, lambda key: f'module.{key}',
    lambda key: key.removeprefix('backbone.')])
@pytest.mark.parametrize('is_whole', [True, False])
def test_all_of_it_or_the_encoder_alone(model, state, change, is_whole):
    own = {key: value for key, value in state.items()
           if is_whole or key.startswith('backbone.')}
    report, found = load(model, {change(k): v for k, v in own.items()})
    assert found == is_whole
    part, lacked = ('model', 'nothing') if is_whole else (
        'encoder', '32 keys (neck 32)')
    assert f'{part} loaded from FILE' in report
    assert f'left nothing; lacked, so new: {lacked}' in report
    for key, value in own.items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize(('lost', 'message'), [
    ('neck.decoder_pred.bias', 'the file lacks neck.decoder_pred.bias'),
    ('backbone.layers.1.ln2.bias', 'the file lacks'),
    ('backbone.ln1.bias', 'the file lacks backbone.ln1.bias'),
    ('backbone.layers.1', 'depth 1 instead of 2'),
    ('backbone.', 'holds no encoder')])
def test_a_part_is_refused(model, state, lost, message):
    part = {k: v for k, v in state.items() if not k.startswith(lost)}
    with pytest.raises(ValueError, match=message):
        load(model, part)


def test_another_size_is_refused(model):
    with pytest.raises(ValueError, match='FILE does not fit AMTMAE: .*neck'):
        load(model, build(mae_config((32, 64))).state_dict(), (4, 8))


def test_a_model_without_a_backbone():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='the file lacks weight, bias'):
        load(model, dict(other=torch.zeros(2)))
    assert load(model, nn.Linear(2, 2).state_dict())[1]


def test_what_is_left_of_other_parts_is_named(model, state):
    report, is_whole = load(model, {**state, 'extra.x': torch.zeros(2)})
    assert is_whole and 'left extra.x;' in report


# ---- by an init_cfg


def initialised(config: dict, **backbone: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a model after ``init_weights``.

    It draws all by itself, as the methods of mmpretrain have it.
    """
    torch.manual_seed(2)
    drawn = [dict(type='Xavier', layer='Linear', distribution='uniform'),
             dict(type='Constant', layer='LayerNorm', val=1., bias=0.)]
    model = MODELS.build(dict(
        config, backbone=dict(config['backbone'], **backbone),
        init_cfg=drawn))
    model.init_weights()
    return model.state_dict()


@pytest.mark.parametrize('name', CONFIGS)
def test_nothing_is_drawn_over_what_was_loaded(name, tmp_path):
    config = CONFIGS[name]
    path = save(build(config), tmp_path / 'run.pth', config)
    taken = {key: value for key, value in read_state_dict(path).items()
             if key.startswith('backbone.')}
    found = initialised(config, init_cfg=dict(
        type='Pretrained', _scope_='amt_mm', checkpoint=path))
    assert len(taken) > 28
    for key, value in taken.items():
        assert torch.equal(found[key], value), key
    # and is what would have been there else
    drawn = initialised(config)
    assert sum(torch.equal(drawn[key], taken[key]) for key in taken) < 3


@pytest.mark.parametrize('name', ['mae', 'classifier'])
@pytest.mark.parametrize('init, message', [
    # they would draw positions, or all, over what was loaded
    ([dict(type='Pretrained', _scope_='amt_mm', checkpoint='x')],
     'init_cfg must be one dict'),
    (dict(type='amt_mm.Pretrained', checkpoint='x'),
     'init_cfg must be one dict'),
    (dict(type='Pretrained', _scope_='amt_mm', checkpoint=''),
     'init_cfg.checkpoint=FILE'),
    (dict(type='Pretrained', _scope_='amt_mm', checkpoint=None),
     'init_cfg.checkpoint=FILE')])
def test_wrong_forms_are_refused(name, init, message):
    with pytest.raises(ValueError, match=message):
        initialised(CONFIGS[name], init_cfg=init)


def test_report_reaches_the_log(pretrained, caplog):
    logger = MMLogger.get_instance('load', log_level='INFO')
    MMLogger._instance_dict.move_to_end('load')  # the current one
    logger.addHandler(caplog.handler)
    try:
        initialised(PLAIN['classifier'], init_cfg=dict(
            type='Pretrained', _scope_='amt_mm', checkpoint=pretrained))
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.text.count(
        f'encoder loaded from {pretrained}: took') == 1
