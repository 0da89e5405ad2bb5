"""Layer-wise decay for models that only have a backbone with depths."""

from __future__ import annotations

import pytest
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import VisionTransformer
from torch import nn

from amt_mm.models import SimpleFPN, ViTDet


class _Detector(nn.Module):
    """The parts of a detector that hold parameters."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = SimpleFPN(in_channels=32, out_channels=8)
        self.rpn_head = nn.Conv2d(8, 2, 1)


def _settings(model: nn.Module, **paramwise) -> dict[str, tuple[float, ...]]:
    """Return learning rate and weight decay by parameter."""
    wrapper = build_optim_wrapper(model, dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.1),
        constructor='amt_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.5, **paramwise)))
    return {group['param_name']: (group['lr'], group['weight_decay'])
            for group in wrapper.optimizer.param_groups}


def test_rates_of_a_detector(tiny_arch):
    """Two layers: the patches at 0.5 ** 3, what is new at 1."""
    model = _Detector(ViTDet(arch=tiny_arch, img_size=64))
    settings = _settings(model)
    rates = {name: lr for name, (lr, _) in settings.items()}
    assert set(rates) == {name for name, _ in model.named_parameters()}
    for name, rate in rates.items():
        if not name.startswith('backbone.'):
            assert rate == 1e-2, name
        elif name.startswith('backbone.layers.1.'):
            assert rate == pytest.approx(0.5e-2), name
        elif name.startswith('backbone.layers.0.'):
            assert rate == pytest.approx(0.25e-2), name
        else:
            assert rate == pytest.approx(0.125e-2), name


def test_decay_of_norms_and_positions(tiny_arch):
    settings = _settings(
        _Detector(ViTDet(arch=tiny_arch, img_size=64)), norm_decay_mult=0.,
        custom_keys={'.pos_embed': dict(decay_mult=0.)})
    decay = {name: value for name, (_, value) in settings.items()}
    assert decay['backbone.pos_embed'] == 0
    assert decay['backbone.layers.0.ln1.weight'] == 0
    assert decay['backbone.layers.0.attn.qkv.weight'] == 0.1
    assert decay['rpn_head.weight'] == 0.1
    assert settings['backbone.pos_embed'][0] == pytest.approx(0.125e-2)


def test_a_plain_vit_works_too(tiny_arch):
    rates = _settings(_Detector(VisionTransformer(tiny_arch, 32, 8)))
    assert rates['backbone.cls_token'][0] == pytest.approx(0.125e-2)
    assert rates['backbone.layers.1.ln1.weight'][0] == pytest.approx(0.5e-2)
    assert rates['backbone.ln1.weight'][0] == 1e-2


def test_a_model_with_depths_of_its_own_keeps_them(tiny_arch):
    rates = _settings(ViTDet(arch=tiny_arch, img_size=64))
    assert rates['layers.0.ln1.weight'][0] == pytest.approx(0.25e-2)


def test_a_model_without_depths_is_refused():
    with pytest.raises(NotImplementedError, match='get_layer_depth'):
        _settings(nn.Linear(2, 2))
