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
        optimizer=dict(type='AdamW', lr=1, weight_decay=0.1),
        constructor='amt_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.5, **paramwise)))
    return {group['param_name']: (group['lr'], group['weight_decay'])
            for group in wrapper.optimizer.param_groups}


def test_rates_and_decay_of_a_detector(tiny_arch):
    """Two layers: the patches at 0.5 ** 3, what is new at 1."""
    model = _Detector(ViTDet(arch=tiny_arch, img_size=64))
    settings = _settings(
        model, norm_decay_mult=0.,
        custom_keys={'.pos_embed': dict(decay_mult=0.)})
    assert set(settings) == {name for name, _ in model.named_parameters()}
    for name, (rate, _) in settings.items():
        if not name.startswith('backbone.'):
            expected = 1
        elif name.startswith('backbone.layers.'):
            expected = 0.5 if name.startswith('backbone.layers.1.') else 0.25
        else:
            expected = 0.125
        assert rate == expected, name
    assert settings['backbone.pos_embed'][1] == 0
    assert settings['backbone.layers.0.ln1.weight'][1] == 0
    assert settings['backbone.layers.0.attn.qkv.weight'][1] == 0.1
    assert settings['rpn_head.weight'][1] == 0.1


def test_other_models(tiny_arch):
    """A plain ViT as a backbone, and a model that has depths of its own."""
    rates = _settings(_Detector(VisionTransformer(tiny_arch, 32, 8)))
    assert rates['backbone.cls_token'][0] == 0.125
    assert rates['backbone.layers.1.ln1.weight'][0] == 0.5
    assert rates['backbone.ln1.weight'][0] == 1
    rates = _settings(ViTDet(arch=tiny_arch, img_size=64))
    assert rates['layers.0.ln1.weight'][0] == 0.25


def test_a_model_without_depths_is_refused():
    with pytest.raises(NotImplementedError, match='get_layer_depth'):
        _settings(nn.Linear(2, 2))
