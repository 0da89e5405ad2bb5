"""Eager steps of all methods, and what the card can do."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import torch
from record import Recorder, Setting, is_fatal, quartiles
from steps import (
    AIMS,
    BF16,
    Step,
    build_sides,
    compare,
    macs_of,
    mae_sides,
    other_sides,
    release,
    timed,
)
from waits import plan_copy, profiles, run_syncs, step_syncs


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
        build_sides(setting, sides, other_sides(method, setting.toy))
        for step in sides.values():
            step.batch(size)
        fails = leave_out_stock(sides)
        return dict(compare(setting, sides, size, macs_of(
            method, setting.toy), aims), **fails)
    finally:
        release(sides)


def leave_out_stock(sides: dict[str, Step]) -> dict[str, str]:
    """Have ours without throwing as the peer where mmpretrain's step fails.

    Its HOG does not run in bfloat16 on a CPU, for one.
    """
    fails = {}
    for name in [name for name in sides if name.startswith('stock')]:
        try:
            sides[name]()
        except RuntimeError as error:
            if is_fatal(error):
                raise
            sides.pop(name)
            fails[f'{name}_fails'] = str(error)[:300]
    return fails


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
