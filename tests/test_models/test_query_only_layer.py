"""The last tokens of a layer, alone or with the others."""

from __future__ import annotations

import copy

import pytest
import torch
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)

from amt_mm.models.query_only_layer import QueryOnlyLayer


@pytest.mark.parametrize('number', [1, 5, 9])
@pytest.mark.parametrize('options', [
    {}, dict(qkv_bias=False), dict(layer_scale_init_value=.3)])
def test_result_and_gradients_are_those_of_the_whole_layer(number, options):
    whole = TransformerEncoderLayer(24, 3, 48, **options).double()
    last = copy.deepcopy(whole)
    last.__class__ = QueryOnlyLayer
    x = torch.randn(2, 9, 24, dtype=torch.float64)
    one, two = (x.clone().requires_grad_() for _ in range(2))
    expected = whole(one)[:, -number:]
    found = copy.deepcopy(last)(two, number)
    torch.testing.assert_close(found, expected)
    found = last(two, number)
    for y in (expected, found):
        y.square().sum().backward()
    torch.testing.assert_close(two.grad, one.grad)
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(
            last.get_parameter(name).grad, parameter.grad)
