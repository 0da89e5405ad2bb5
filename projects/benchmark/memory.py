"""The memory that a training step asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def peak_bytes(step: Callable[[], None]) -> int:
    """Return the most bytes that a step holds beyond those held before it.

    Every allocation and release of torch is counted, so it is exact and does
    not depend on the machine's other work; on CUDA it is
    ``max_memory_allocated``.
    """
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with profile(
            activities=[ProfilerActivity.CPU],
            profile_memory=True,
            acc_events=True) as record:
        step()
    events: Any = record.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events
                     if e.name() == '[memory]')
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def standing_bytes(model: nn.Module,
                   optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of weights, buffers and the optimiser's state."""
    tensors = [*model.parameters(), *model.buffers()]
    for state in optimizer.state.values():
        tensors += [v for v in state.values() if isinstance(v, Tensor)]
    return sum(t.nbytes for t in tensors)
