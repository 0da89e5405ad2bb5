"""What an ``init_cfg`` loads is there after ``init_weights``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from tiny_checkpoints import (
    ARCH,
    PLAIN,
    SIDE,
    build,
    classifier_config,
    save,
    simmim_config,
)

from amt_mm.weights import read_state_dict

MASKFEAT = dict(
    type='amt_mm.AMTMaskFeat',
    backbone=dict(type='amt_mm.AMTMaskFeatViT', arch=ARCH, img_size=32,
                  patch_size=SIDE),
    neck=dict(type='mmpretrain.LinearNeck', in_channels=32, out_channels=27,
              norm_cfg=None),
    head=dict(type='mmpretrain.MIMHead', loss=dict(
        type='mmpretrain.PixelReconstructionLoss', criterion='L2')),
    target_generator=dict(type='amt_mm.AMTHOGGenerator', nbins=9, pool=8,
                          patch_size=SIDE, gaussian_window=16))
VITDET = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='amt_mm.ViTDet', arch=ARCH, img_size=32,
                  patch_size=SIDE, window_size=2))
CONFIGS = {
    **{name: PLAIN[name] for name in ('mae', 'simmim', 'classifier')},
    'simmim, relative': simmim_config('AMTBEiTPretrainViT'),
    'maskfeat': MASKFEAT,
    'vitdet': VITDET,
    'classifier, mean': classifier_config(
        out_type='avg_featmap', final_norm=False),
}
# drawn by the model itself, as the methods of mmpretrain have it
DRAWN = [dict(type='Xavier', layer='Linear', distribution='uniform'),
         dict(type='Constant', layer='LayerNorm', val=1., bias=0.)]


def initialised(config: dict, **backbone: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a model after ``init_weights``."""
    torch.manual_seed(2)
    model = MODELS.build(dict(
        config, backbone=dict(config['backbone'], **backbone),
        init_cfg=DRAWN))
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


@pytest.mark.parametrize('make', [
    lambda **cfg: [dict(type='Pretrained', _scope_='amt_mm', **cfg)],
    lambda **cfg: dict(type='amt_mm.Pretrained', **cfg)])
@pytest.mark.parametrize('name', ['mae', 'classifier'])
def test_a_form_that_backbones_do_not_know_is_refused(name, make, tmp_path):
    """They would draw positions, or all, over what was loaded."""
    config = CONFIGS[name]
    path = save(build(config), tmp_path / 'run.pth', config)
    with pytest.raises(ValueError, match='init_cfg must be one dict'):
        initialised(config, init_cfg=make(checkpoint=path))
