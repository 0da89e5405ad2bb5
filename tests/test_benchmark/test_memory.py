"""Bytes are counted, not estimated."""

from __future__ import annotations

import torch
from torch import nn

from amt_mm.engine.cost import saved_bytes
from projects.benchmark.memory import peak_bytes, standing_bytes

FLOATS = 1 << 18


def test_the_peak_is_what_is_held_at_once():
    kept = []

    def step() -> None:
        for _ in range(5):
            torch.zeros(FLOATS)  # released at once
        kept.append(torch.zeros(FLOATS))
        kept.append(torch.zeros(FLOATS))

    assert peak_bytes(step) == 2 * 4 * FLOATS


def test_saved_for_backward_counts_storages_once_and_no_weights():
    layer = nn.Linear(8, 8, bias=False)
    x = torch.ones(16, 8, requires_grad=True)

    def loss_of() -> torch.Tensor:
        hidden = layer(x)  # keeps x
        return (hidden * hidden.view(8, 16).T).sum()  # keeps it twice

    once = saved_bytes(layer, lambda: layer(x).sum())
    assert once == x.nbytes
    assert saved_bytes(layer, loss_of) == 2 * x.nbytes


def test_standing_bytes_are_weights_and_the_optimisers_state():
    layer = nn.Linear(8, 8, bias=False)
    optimizer = torch.optim.AdamW(layer.parameters())
    assert standing_bytes(layer, optimizer) == 256
    layer(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    # two moments and the number of steps
    assert standing_bytes(layer, optimizer) == 3 * 256 + 4
