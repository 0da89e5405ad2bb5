"""Where the time of a step goes, and what the host waits for."""

from __future__ import annotations

import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from record import Setting, device_ratios
from steps import Step, build_sides, mae_sides, needs_cuda, synchronize
from torch.profiler import ProfilerActivity, profile

from amt_mm.masking import MaskPlan


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
    line['device_ratio'] = device_ratios(line)
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
    """Count what makes the host wait in a step, by place.

    Only ours are judged; what waits in mmpretrain's is not ours to mend.
    """
    needs_cuda(setting)
    build_sides(setting, sides, mae_sides('b', setting.toy))
    found = {}
    for name, step in sides.items():
        step.batch(64)
        step()
        with counting_syncs() as places:
            step()
        found[name] = dict(places)
    return judged(found)


def judged(found: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Judge what was found by side, and say which sides count."""
    ours = [name for name in found if not name.startswith('stock')]
    return dict(found, judged=ours, ok=not any(found[name] for name in ours))


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
