"""Training steps against each other: time, memory and the host's part."""

from __future__ import annotations

import gc
import math
import shutil
import subprocess
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from record import Recorder, Setting, SkippedError, quartiles
from torch.profiler import ProfilerActivity, profile

from amt_mm.benchmark.memory import peak_bytes, standing_bytes
from amt_mm.benchmark.step import (
    StepOptions,
    given_plan,
    let_compile,
    loss_function,
)
from amt_mm.benchmark.workload import Workload, read_config, workloads
from amt_mm.masking import MaskPlan

BF16 = torch.bfloat16
AIMS = dict(amt_45_40=.62, ours_75_0=.97)
PEAK_AIM = .68
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

    def compile(self, size: int, backend: str) -> None:
        """Compile the loss, the plan made outside of the graph."""
        images = self.load.images(size, self.device)
        samples = self.load.samples(size, self.device)
        if self.load.is_stock:
            let_compile(self.model)
            model = self.model
            stock = torch.compile(
                lambda images: model.loss(images, None)['loss'],
                fullgraph=True, backend=backend)
            self.loss_of = lambda: stock(images)
            return
        ours = torch.compile(given_plan(self.model, self.load.grid),
                             fullgraph=True, backend=backend)

        def loss() -> Any:
            plan = MaskPlan.from_data_samples(samples, self.device)
            return ours(images, plan.ids_visible, plan.ids_masked)

        self.loss_of = loss

    def __call__(self) -> None:
        with torch.autocast(self.device, BF16):
            loss = self.loss_of()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak(self) -> int:
        """Return the most bytes that a step needs, weights and state too."""
        return standing_bytes(self.model, self.optimizer) + peak_bytes(self)


def run(setting: Setting, recorder: Recorder) -> None:
    """Time eager steps, and say what they wait for."""
    recorder.check('ceilings', ceilings, setting)
    sides: dict[str, Step] = {}
    sizes = setting.pick((256, 64, 128, 512, 2), (2,))
    for size in sizes:
        recorder.check(f'mae_b_{size}', compare_mae, setting, sides, 'b', size)
    recorder.check('profile', profiles, setting, sides, sizes[0])
    recorder.check('step_syncs', step_syncs, setting, sides)
    recorder.check('plan_copy', plan_copy, setting)
    recorder.check(f'plan_ready_{sizes[1 % len(sizes)]}', compare_ready,
                   setting, sides, sizes[1 % len(sizes)])
    release(sides)
    recorder.check('run_syncs', run_syncs, setting)
    for size in setting.pick((128, 64, 256), ()):
        recorder.check(f'mae_l_{size}', compare_mae, setting, sides, 'l', size)
    release(sides)
    size = setting.pick(256, 2)
    recorder.check(f'simmim_b_{size}', compare_simmim, setting, size)
    recorder.check(f'maskfeat_b_{size}', compare_maskfeat, setting, size)


def run_compiled(setting: Setting, recorder: Recorder) -> None:
    """Time compiled steps of MAE."""
    size = setting.pick(256, 2)
    recorder.check(f'mae_b_{size}', compare_compiled, setting, size)


def warm_stock(setting: Setting, recorder: Recorder) -> None:
    """Fill the cache of the compiler with the stock step."""
    recorder.check('stock_75', warm, setting, 'stock_75')


def warm_amt(setting: Setting, recorder: Recorder) -> None:
    """Fill the cache of the compiler with the step of AMT."""
    recorder.check('amt_45_40', warm, setting, 'amt_45_40')


def warm(setting: Setting, name: str) -> dict[str, Any]:
    """Compile one side and return how long that took."""
    step = Step(mae_sides('b', setting.toy)[name], setting)
    step.compile(setting.pick(256, 2), setting.pick('inductor', 'eager'))
    start = time.perf_counter()
    step()
    synchronize()
    return dict(compile_seconds=round(time.perf_counter() - start, 1))


@cache
def mae_sides(size: str, toy: bool) -> Sides:
    """Return stock MAE, ours at 75/0 and ours at 45/40."""
    warmup, amt = workloads(read_config(f'mae_amt_vit-{size}_400e_in1k', toy))
    return dict(stock_75=warmup.stock(), ours_75_0=warmup, amt_45_40=amt)


@cache
def macs_of(method: str, toy: bool) -> dict[str, int]:
    """Count the multiply-accumulates of a step by side, for one image."""
    sides = mae_sides(method, toy) if len(method) == 1 else \
        other_sides(method, toy)
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


def compare_mae(setting: Setting, sides: dict[str, Step], vit: str,
                size: int) -> dict[str, Any]:
    """Compare MAE at one batch size; ``sides`` keeps the models."""
    build_sides(setting, sides, mae_sides(vit, setting.toy))
    for step in sides.values():
        step.batch(size)
    return compare(setting, sides, size, macs_of(vit, setting.toy), AIMS)


def compare_ready(setting: Setting, sides: dict[str, Step],
                  size: int) -> dict[str, Any]:
    """Compare AMT's step with one whose plan is on the device already."""
    load = mae_sides('b', setting.toy)['amt_45_40']
    build_sides(setting, sides, dict(amt_45_40=load))
    step, ready = sides['amt_45_40'], Step(load, setting)
    step.batch(size)
    ready.ready(size)
    macs = macs_of('b', setting.toy)['amt_45_40']
    return compare(setting, dict(amt_45_40=step, plan_ready=ready), size,
                   dict(amt_45_40=macs, plan_ready=macs), {})


def compare_simmim(setting: Setting, size: int) -> dict[str, Any]:
    """Compare SimMIM with throwing to SimMIM without."""
    return compare_others(setting, size, 'simmim',
                          dict(amt_44_26=.75, amt_33_50=.53))


def compare_maskfeat(setting: Setting, size: int) -> dict[str, Any]:
    """Compare MaskFeat with mmpretrain's."""
    return compare_others(setting, size, 'maskfeat', {})


def compare_others(setting: Setting, size: int, method: str,
                   aims: dict[str, float]) -> dict[str, Any]:
    """Compare the sides of a method, whose models go afterwards."""
    sides: dict[str, Step] = {}
    try:
        loads = {
            name: load
            for name, load in other_sides(method, setting.toy).items()
            if setting.device == 'cuda' or name != 'stock_40'
        }  # mmpretrain's HOG does not run in bfloat16 on a CPU
        build_sides(setting, sides, loads)
        for step in sides.values():
            step.batch(size)
        return compare(setting, sides, size, macs_of(method, setting.toy),
                       aims)
    finally:
        release(sides)


def compare_compiled(setting: Setting, size: int) -> dict[str, Any]:
    """Compare the compiled steps of MAE, and AMT's to its eager one."""
    loads = mae_sides('b', setting.toy)
    sides: dict[str, Step] = {}
    build_sides(setting, sides, {
        name: loads[name] for name in ('stock_75', 'amt_45_40')})
    start = time.perf_counter()
    for step in sides.values():
        step.compile(size, setting.pick('inductor', 'eager'))
        step()
    synchronize()
    seconds = round(time.perf_counter() - start, 1)
    sides['eager_amt_45_40'] = eager = Step(loads['amt_45_40'], setting)
    eager.batch(size)
    macs = macs_of('b', setting.toy)
    macs = dict(macs, eager_amt_45_40=macs['amt_45_40'])
    return dict(compare(setting, sides, size, macs, AIMS),
                compile_seconds=seconds)


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


def ceilings(setting: Setting) -> dict[str, Any]:
    """Measure a large copy, and a large matrix product."""
    n = setting.pick(8192, 64)
    a, b = (torch.randn(n, n, device=setting.device, dtype=BF16)
            for _ in range(2))
    large = torch.randn(setting.pick(2**30, 2**10), device=setting.device)
    target = torch.empty_like(large)
    seconds, _ = timed(dict(product=lambda: a @ b,
                            copy=lambda: target.copy_(large)), setting)
    product, copy = ([*quartiles(own)][1] for own in seconds.values())
    return dict(bf16_tflops=round(2e-12 * n**3 / product, 1),
                copy_tb_a_second=round(2e-12 * large.nbytes / copy, 3),
                cuda=torch.version.cuda, state=card_state())


def card_state() -> str | None:
    """Return what the driver says of the card, right after work."""
    if not shutil.which('nvidia-smi'):
        return None
    return subprocess.run(
        ['nvidia-smi', '--query-gpu=name,driver_version,memory.total,'
         'clocks.sm,clocks.mem,power.draw,temperature.gpu',
         '--format=csv,noheader'],
        text=True, capture_output=True, timeout=20).stdout.strip()


def profiles(setting: Setting, sides: dict[str, Step],
             size: int) -> dict[str, Any]:
    """Say where the time of a step goes, by kernel."""
    line: dict[str, Any] = dict(batch_size=size)
    build_sides(setting, sides, mae_sides('b', setting.toy))
    for name, step in sides.items():
        step.batch(size)
        step()
        synchronize()
        activities = [ProfilerActivity.CPU] + setting.pick(
            [ProfilerActivity.CUDA], [])
        start = time.perf_counter()
        with profile(activities=activities) as record:
            step()
            synchronize()
        line[name] = dict(
            wall_milliseconds=round(1e3 * (time.perf_counter() - start), 2),
            **kernels(record))
    return line


def kernels(record: Any) -> dict[str, Any]:
    """Return the kernels that took most, and what the host waited for."""
    averages = record.key_averages()
    on_device = [e for e in averages if 'CUDA' in str(e.device_type) and
                 not getattr(e, 'is_user_annotation', False)]
    on_device.sort(key=lambda e: -e.self_device_time_total)
    waits = [e for e in averages if any(word in e.key for word in (
        'Synchronize', 'cudaMemcpy', 'cudaMalloc', 'aten::item'))]
    return dict(
        device_milliseconds=round(
            sum(e.self_device_time_total for e in on_device) / 1e3, 3),
        num_kernels=sum(e.count for e in on_device),
        kernels=[(e.key[:70], e.count,
                  round(e.self_device_time_total / 1e3, 3))
                 for e in on_device[:14]],
        host_waits=[(e.key, e.count, round(e.cpu_time_total / 1e3, 3))
                    for e in waits])


def step_syncs(setting: Setting, sides: dict[str, Step]) -> dict[str, Any]:
    """Count what makes the host wait in a step, by place."""
    needs_cuda(setting)
    build_sides(setting, sides, mae_sides('b', setting.toy))
    line: dict[str, Any] = dict(ok=True)
    for name, step in sides.items():
        step.batch(64)
        step()
        with counting_syncs() as places:
            step()
        line[name] = dict(places)
        line['ok'] = line['ok'] and not places
    return line


@contextmanager
def counting_syncs() -> Iterator[Counter]:
    """Count the operations that wait for the device, by line of code."""
    places: Counter = Counter()

    def show(message: Any, *args: Any, **kwargs: Any) -> None:
        if 'synchronizing' not in str(message):
            return
        frames = [
            f'{frame.filename.split("site-packages/")[-1]}:{frame.lineno} '
            f'{frame.name}' for frame in traceback.extract_stack()
            if any(part in frame.filename for part in
                   ('amt_mm', 'mmengine', 'mmpretrain', 'optim'))]
        places[' < '.join(frames[:-4:-1])] += 1

    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter('always')
        warnings.showwarning = show
        torch.cuda.set_sync_debug_mode('warn')
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode('default')
            warnings.showwarning = before


@HOOKS.register_module(force=True)
class CountSyncs(Hook):
    """Count what waits for the device from one iteration to another."""

    def __init__(self, begin: int, number: int) -> None:
        self.begin, self.end = begin, begin + number

    def before_train_iter(self, runner: Any, batch_idx: int,
                          data_batch: Any = None) -> None:
        """Begin, or end."""
        if runner.iter == self.begin:
            self.counting = counting_syncs()
            self.places = self.counting.__enter__()
        elif runner.iter == self.end:
            self.counting.__exit__(None, None, None)


def run_syncs(setting: Setting) -> dict[str, Any]:
    """Count what makes the host wait in an iteration of a real run."""
    needs_cuda(setting)
    from runs import config, train
    number = 5
    cfg = config(setting, 'syncs', **{
        'train_cfg.max_epochs': 3, 'default_hooks.logger.interval': 100})
    cfg.custom_hooks.append(
        dict(type='CountSyncs', begin=10, number=number))
    runner = train(cfg)
    hook = next(h for h in runner.hooks if isinstance(h, CountSyncs))
    places = {place: count / number for place, count in hook.places.items()}
    return dict(an_iteration=sum(places.values()), places=places)


def plan_copy(setting: Setting) -> dict[str, Any]:
    """Say whether making a plan waits for work that is enqueued before it.

    The ids travel from memory that is not pinned, which the driver may copy
    only once the stream has come that far.
    """
    needs_cuda(setting)
    load = mae_sides('b', setting.toy)['amt_45_40']
    line: dict[str, Any] = {}
    for size in (64, 256, 512):
        samples = load.samples(size)
        for name, cycles in (('idle', 0), ('busy', 400_000_000)):
            times = []
            for _ in range(5):
                torch.cuda.synchronize()
                if cycles:
                    torch.cuda._sleep(cycles)
                start = time.perf_counter()
                MaskPlan.from_data_samples(samples, 'cuda')
                times.append(time.perf_counter() - start)
            torch.cuda.synchronize()
            line[f'{name}_{size}_ms'] = round(1e3 * min(times[1:]), 3)
    line['waits'] = any(line[f'busy_{size}_ms'] > 3 * line[f'idle_{size}_ms']
                        + 5 for size in (64, 256, 512))
    return line
