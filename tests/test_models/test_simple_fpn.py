"""SimpleFPN: shapes, norms, gradients."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models.utils import LayerNorm2d
from torch import nn

from amt_mm.models import SimpleFPN


@pytest.mark.parametrize('height, width', [(8, 8), (6, 10)])
def test_strides(height, width):
    neck = SimpleFPN(in_channels=32, out_channels=16)
    outs = neck((torch.randn(2, 32, height, width), ))
    assert [tuple(out.shape) for out in outs] == [
        (2, 16, 4 * height, 4 * width), (2, 16, 2 * height, 2 * width),
        (2, 16, height, width), (2, 16, height // 2, width // 2),
        (2, 16, (height // 2 + 1) // 2, (width // 2 + 1) // 2)]
    torch.testing.assert_close(outs[4], outs[3][:, :, ::2, ::2])


def test_levels_are_normalised_and_have_no_activation():
    neck = SimpleFPN(in_channels=32, out_channels=16)
    for out in neck((torch.randn(2, 32, 8, 8), )):
        torch.testing.assert_close(
            out.mean(1), torch.zeros_like(out.mean(1)), rtol=0, atol=1e-5)
        assert out.min() < 0


def test_every_parameter_learns():
    neck = SimpleFPN(in_channels=32, out_channels=16)
    outs = neck((torch.randn(1, 32, 8, 8), ))
    sum((out**3).sum() for out in outs).backward()
    assert all(p.grad.abs().sum() > 0 for p in neck.parameters())


def test_one_norm_after_every_convolution():
    """Two for each of four levels, and one between the two deconvolutions."""
    neck = SimpleFPN(in_channels=32, out_channels=16)
    norms = [m for m in neck.modules() if isinstance(m, LayerNorm2d)]
    assert len(norms) == 9
    convs = [m for m in neck.modules() if isinstance(m, nn.Conv2d)]
    assert [c.kernel_size[0] for c in convs] == [1, 3] * 4
    assert all(c.bias is None for c in convs)


def test_fewer_levels():
    neck = SimpleFPN(in_channels=32, out_channels=16, num_outs=4)
    assert len(neck((torch.randn(1, 32, 4, 4), ))) == 4


@pytest.mark.parametrize('num_outs', [3, 0, 4.5])
def test_num_outs_is_checked(num_outs):
    with pytest.raises(ValueError, match='num_outs must be .* 4'):
        SimpleFPN(in_channels=32, num_outs=num_outs)


def test_takes_one_map():
    neck = SimpleFPN(in_channels=32)
    with pytest.raises(ValueError, match='one feature map, got 2'):
        neck((torch.randn(1, 32, 4, 4), ) * 2)


def test_is_registered():
    neck = MODELS.build(dict(type='amt_mm.SimpleFPN', in_channels=32))
    assert neck((torch.randn(1, 32, 4, 4), ))[0].shape == (1, 256, 16, 16)
