"""Training steps against each other: time, memory and the host's part."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from record import Setting, SkippedError, quartiles

from amt_mm.masking import MaskPlan
from projects.benchmark.memory import peak_bytes, standing_bytes
from projects.benchmark.step import (
    StepOptions,
    given_plan,
    loss_function,
    make_compilable,
)
from projects.benchmark.workload import Workload, read_config, workloads

BF16 = torch.bfloat16
AIMS = dict(amt_45_40=.62, ours_75_0=.97)
MAE = dict(b='mae_amt_vit-b_400e_in1k', l='mae_amt_vit-l_400e_in1k',
           t='study/mae_vit-t_64')
Sides = Mapping[str, Workload]


class Step:
    """A model with fused AdamW; a call enqueues one step in bfloat16.

    Args:
        load (Workload): The model and its plans.
        setting (Setting): Of the command.
    """

    def __init__(self, load: Workload, setting: Setting) -> None:
        self.load, self.device = load, setting.device
        self.model = load.build(self.device)
        self.model.init_weights()
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=1e-5, fused=True)
        self.loss_of: Callable[[], Any] | None = None
        self.has_graphs = False

    def batch(self, size: int) -> None:
        """Take batches of a size."""
        self.loss_of = loss_function(
            self.model, self.load, StepOptions(size, bf16=True))

    def ready(self, size: int) -> None:
        """Take batches whose plan is on the device already."""
        images = self.load.images(size, self.device)
        plan = MaskPlan.from_data_samples(self.load.samples(size), self.device)
        loss = given_plan(self.model, self.load.grid)
        self.loss_of = lambda: loss(images, plan.ids_visible, plan.ids_masked)

    def compile(self, size: int, backend: str,
                mode: str | None = None) -> None:
        """Compile the loss, the plan made outside of the graph."""
        self.has_graphs = bool(mode)
        options: Any = dict(fullgraph=True, dynamic=False, backend=backend,
                            mode=mode)
        images = self.load.images(size, self.device)
        samples = self.load.samples(size, self.device)
        if self.load.is_stock:
            make_compilable(self.model)
            model = self.model
            stock = torch.compile(
                lambda images: model.loss(images, None)['loss'], **options)
            self.loss_of = lambda: stock(images)
            return
        ours = torch.compile(given_plan(self.model, self.load.grid),
                             **options)

        def loss() -> Any:
            plan = MaskPlan.from_data_samples(samples, self.device)
            return ours(images, plan.ids_visible, plan.ids_masked)

        self.loss_of = loss

    def __call__(self) -> None:
        if self.has_graphs:  # a replay writes over what the last returned
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(self.device, BF16):
            loss = self.loss_of()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak(self) -> int:
        """Return the most bytes that a step needs, weights and state too."""
        return standing_bytes(self.model, self.optimizer) + peak_bytes(self)


@cache
def mae_sides(vit: str, toy: bool) -> Sides:
    """Return stock MAE, ours at 75/0 and ours at 45/40."""
    warmup, amt = workloads(read_config(MAE[vit], toy))
    return dict(stock_75=warmup.stock(), ours_75_0=warmup, amt_45_40=amt)


@cache
def macs_of(method: str, toy: bool) -> dict[str, int]:
    """Count the multiply-accumulates of a step by side, for one image."""
    sides = (mae_sides if method in MAE else other_sides)(method, toy)
    return {name: load.macs() for name, load in sides.items()}


@cache
def other_sides(method: str, toy: bool) -> Sides:
    """Return the sides of SimMIM or of MaskFeat."""
    if method == 'maskfeat':
        warmup, amt = workloads(read_config(
            'maskfeat_amt_vit-b_300e_in1k', toy))
        return dict(stock_40=warmup.stock(), ours_40_0=warmup, amt_28_30=amt)
    warmup, amt = workloads(read_config('simmim_amt_vit-b_200e_in1k', toy))
    _, more = workloads(read_config('simmim_amt-33-50_vit-b_200e_in1k', toy))
    return dict(ours_60_0=warmup, amt_44_26=amt, amt_33_50=more)


def build_sides(setting: Setting, sides: dict[str, Step],
                loads: Sides) -> None:
    """Build what is not there."""
    for name, load in loads.items():
        if name not in sides:
            sides[name] = Step(load, setting)


def release(sides: dict[str, Step]) -> None:
    """Give the memory back."""
    sides.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def compare(setting: Setting, sides: Mapping[str, Callable[[], None]],
            size: int, macs: Mapping[str, int],
            aims: Mapping[str, float]) -> dict[str, Any]:
    """Time the sides in turn, each over the first."""
    seconds, host = timed(sides, setting)
    peer = next(iter(sides))
    line: dict[str, Any] = dict(batch_size=size, peer=peer, sides={})
    peaks = {name: step.peak() for name, step in sides.items()
             if isinstance(step, Step)}
    for name, own in seconds.items():
        low, middle, high = quartiles(own)
        ratio = [*quartiles([
            a / b for a, b in zip(own, seconds[peer], strict=True)])]
        line[name] = ratio[1]
        side = line['sides'][name] = dict(
            milliseconds=[1e3 * low, 1e3 * middle, 1e3 * high],
            ratio=ratio, arithmetic_ratio=round(macs[name] / macs[peer], 4),
            images_a_second=round(size / middle, 1),
            tflops=round(2e-12 * macs[name] * size / middle, 1),
            host_milliseconds=1e3 * [*quartiles(host[name])][1],
            host_over_step=round([*quartiles(host[name])][1] / middle, 3),
            aim=aims.get(name))
        if name in peaks:
            side.update(peak_mb=round(peaks[name] / 1e6, 1),
                        peak_ratio=round(peaks[name] / peaks[peer], 4))
            line[f'{name}_peak'] = side['peak_ratio']
    line['misses'] = [
        name for name, aim in aims.items() if name in line and
        line[name] > aim]
    return line


def timed(calls: Mapping[str, Callable[[], None]], setting: Setting
          ) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return by side the seconds of a call, on the device and on the host.

    A round makes as many calls of a side as fill a tenth of a second between
    two events; the order of the sides turns from round to round.
    """
    numbers = {}
    for name, call in calls.items():
        for _ in range(setting.pick(3, 1)):
            call()
        seconds, _ = between_events(call, setting.pick(2, 1), setting)
        numbers[name] = setting.pick(
            min(20, max(2, math.ceil(.1 / seconds))), 1)
    device: dict[str, list[float]] = {name: [] for name in calls}
    host: dict[str, list[float]] = {name: [] for name in calls}
    names = [*calls]
    for _ in range(setting.pick(9, 2)):
        for name in names:
            own, enqueued = between_events(calls[name], numbers[name], setting)
            device[name].append(own)
            host[name].append(enqueued)
        names.append(names.pop(0))
    return device, host


def between_events(call: Callable[[], Any], number: int,
                   setting: Setting) -> tuple[float, float]:
    """Return the seconds of a call on the device, and to enqueue it."""
    if setting.device == 'cpu':
        start = time.perf_counter()
        for _ in range(number):
            call()
        seconds = (time.perf_counter() - start) / number
        return seconds, seconds
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start = time.perf_counter()
    first.record()
    for _ in range(number):
        call()
    last.record()
    enqueued = time.perf_counter() - start
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / number, enqueued / number


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def needs_cuda(setting: Setting) -> None:
    """Raise SkippedError on a CPU."""
    if setting.device == 'cpu':
        raise SkippedError('needs a GPU')
