"""Memory of a training step: ours over the peer's."""

from __future__ import annotations

from typing import Any

import torch

from amt_mm.engine.cost import saved_bytes

from .comparison import arithmetic
from .item import Result, Setting, item
from .memory import peak_bytes, standing_bytes
from .peers import PeerWorkload
from .step import StepOptions, device, loss_function
from .step_items import mae_sides
from .workload import Workload


@item('peak_memory', 'Memory',
      "MAE + AMT 45/40 of ViT-B/16 over mmpretrain's MAE in float32. The "
      'peak is the most that torch has allocated at once in one step '
      '(forward, backward, AdamW), counted from every allocation and release '
      "that torch's profiler records, or on a GPU max_memory_allocated; "
      "weights, gradients and AdamW's state are in it. What is saved for "
      'backward is counted by saved_tensors_hooks. Counts '
      'have no spread.')
def peak_memory(setting: Setting) -> list[Result]:
    """Compare the peak, and what the forward keeps."""
    batch_size = 2 if setting.tiny else 64
    sides = mae_sides('b', setting)
    sides.pop('ours_75_0')
    stock, ours = (figures(load, batch_size) for load in sides.values())
    return [
        memory_result(f'mae_b_amt_45_40_{name}', name, ours,
                      dict(stock_75=stock), batch_size, aim)
        for name, aim in (('peak', .68), ('saved_for_backward', None))
    ]


def memory_result(item_name: str, name: str, own: dict[str, Any],
                  peer: dict[str, dict[str, Any]], batch_size: int,
                  aim: float | None = None) -> Result:
    """Compare one of the figures of a workload with those of a named peer."""
    (peer_name, others), = peer.items()
    ratio = own[name] / others[name]
    return Result(
        item_name, ratio, (ratio, ratio), 1, aim,
        extra=dict(
            peer=peer_name, megabytes=_mb(own[name]),
            peer_megabytes=_mb(others[name]), batch_size=batch_size,
            precision='fp32', **arithmetic(ratio, own['macs'],
                                           others['macs'])))


def figures(load: Workload | PeerWorkload, batch_size: int) -> dict[str, Any]:
    """Count the bytes of one workload."""
    model = load.build(device())
    loss_of = loss_function(model, load, StepOptions(batch_size))
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def step() -> None:
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad()

    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its state
    optimizer.zero_grad()
    return dict(
        saved_for_backward=saved_bytes(model, loss_of),
        peak=standing_bytes(model, optimizer) + peak_bytes(step),
        macs=load.macs())


def _mb(num_bytes: int) -> float:
    return round(num_bytes / 1e6, 1)
