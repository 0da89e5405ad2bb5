"""One training step, ready to be timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor

from amt_mm.masking import MaskPlan

from .peers import PeerWorkload
from .timing import Clock
from .workload import Workload

Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class StepOptions:
    """How a step is taken.

    Attributes:
        batch_size (int): Images of a step.
        bf16 (bool): Whether autocast to bfloat16 is on.
        compiled (bool): Whether ``torch.compile`` makes one graph of the
            loss, backward included.
        fused (bool): Whether AdamW is fused; as the configs have it, it is
            not.
    """

    batch_size: int = 16
    bf16: bool = False
    compiled: bool = False
    fused: bool = False

    @property
    def precision(self) -> str:
        """Name the precision."""
        return 'bf16' if self.bf16 else 'fp32'


def device() -> str:
    """Return where steps are measured."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock() -> Clock:
    """Return the clock of what neither reads files nor has workers."""
    return time.perf_counter if torch.cuda.is_available() \
        else time.process_time


class TrainStep:
    """A model with its optimiser; a call takes one step and waits for it.

    A step is forward, backward and AdamW.

    Attributes:
        optimizer_seconds (list[float]): What AdamW took of each step; it is
            the same for any number of tokens.
    """

    def __init__(self, load: Workload | PeerWorkload,
                 options: StepOptions) -> None:
        self.options = options
        model = load.build(device())
        self.loss_of = loss_function(model, load, options)
        self.optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=1e-5,
            fused=options.fused or None)
        self.optimizer_seconds: list[float] = []

    def __call__(self) -> None:
        with torch.autocast(
                device(), torch.bfloat16, enabled=self.options.bf16):
            loss = self.loss_of()
        loss.backward()
        wait()
        start = clock()()
        self.optimizer.step()
        self.optimizer.zero_grad()
        wait()
        self.optimizer_seconds.append(clock()() - start)


def loss_function(model: Any, load: Workload | PeerWorkload,
                  options: StepOptions) -> Loss:
    """Return the loss of one batch, the plan made anew in each call."""
    if isinstance(load, PeerWorkload):
        return load.loss_function(model, options.batch_size, device())
    images = load.images(options.batch_size, device())
    plans = load.samples(options.batch_size, device())
    if not options.compiled:
        return lambda: model.loss(images, plans)['loss']
    if load.is_stock:
        make_compilable(model)
        stock = torch.compile(
            lambda images: model.loss(images, None)['loss'], fullgraph=True)
        return lambda: stock(images)
    ours = torch.compile(given_plan(model, load.grid), fullgraph=True)

    def loss() -> Tensor:
        plan = MaskPlan.from_data_samples(plans, device())
        return ours(images, plan.ids_visible, plan.ids_masked)

    return loss


def make_compilable(model: Any) -> None:
    """Take the numpy numbers out of a stock model, which break its graph."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = float(module.drop_prob)


def given_plan(model: Any,
               grid: tuple[int, int]) -> Callable[..., Tensor]:
    """Return the loss as a function of tensors alone, for a compiler."""

    def loss(images: Tensor, ids_visible: Tensor,
             ids_masked: Tensor) -> Tensor:
        return model.loss_given_plan(
            images, MaskPlan(ids_visible, ids_masked, grid))

    return loss
