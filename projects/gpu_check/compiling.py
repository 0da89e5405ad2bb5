"""Steps whose loss torch compiles, with CUDA graphs too."""

from __future__ import annotations

import time
from typing import Any

import torch
from record import Recorder, Setting
from steps import (
    AIMS,
    Step,
    compare,
    macs_of,
    mae_sides,
    needs_cuda,
    release,
    synchronize,
)

SIDES = 'stock_75', 'amt_45_40'
# of torch.compile; a CUDA graph launches all kernels of a pass at once
GRAPHS = 'reduce-overhead'
# by name: the ViT, the batch and the mode
CASES: dict[str, tuple[str, int, str | None]] = dict(
    mae_b_256=('b', 256, None),
    mae_b_64_graphs=('b', 64, GRAPHS),
    mae_t_128_graphs=('t', 128, GRAPHS))


def run(setting: Setting, recorder: Recorder) -> None:
    """Time compiled steps of MAE."""
    for case in CASES:
        recorder.check(name_of(case, setting), compare_compiled, setting, case)


def warm(setting: Setting, recorder: Recorder, case: str, side: str) -> None:
    """Fill the cache of the compiler with a step."""
    recorder.check(f'{name_of(case, setting)}_{side}', compile_alone, setting,
                   case, side)


def name_of(case: str, setting: Setting) -> str:
    """Name a case after the batch that it has here."""
    return case.replace(str(CASES[case][1]), str(size_of(case, setting)))


def size_of(case: str, setting: Setting) -> int:
    """Return the batch size."""
    return setting.pick(CASES[case][1], 2)


def compiled_step(setting: Setting, case: str, side: str) -> Step:
    """Build a step and have it compiled."""
    vit, _, mode = CASES[case]
    if mode:
        needs_cuda(setting)
    step = Step(mae_sides(vit, setting.toy)[side], setting)
    step.compile(size_of(case, setting), setting.pick('inductor', 'eager'),
                 mode)
    step()
    synchronize()
    return step


def compile_alone(setting: Setting, case: str, side: str) -> dict[str, Any]:
    """Return how long it takes to compile a step."""
    start = time.perf_counter()
    compiled_step(setting, case, side)
    return dict(compile_seconds=round(time.perf_counter() - start, 1))


def compare_compiled(setting: Setting, case: str) -> dict[str, Any]:
    """Compare the compiled steps of MAE, and AMT's to its eager one."""
    vit, _, mode = CASES[case]
    size = size_of(case, setting)
    start = time.perf_counter()
    steps = {side: compiled_step(setting, case, side) for side in SIDES}
    seconds = round(time.perf_counter() - start, 1)
    eager = Step(mae_sides(vit, setting.toy)['amt_45_40'], setting)
    eager.batch(size)
    steps['eager_amt_45_40'] = eager
    macs = macs_of(vit, setting.toy)
    macs = dict(macs, eager_amt_45_40=macs['amt_45_40'])
    # the memory of a CUDA graph is not that of a step
    calls = {name: step.__call__ for name, step in steps.items()} if mode \
        else steps
    try:
        return dict(compare(setting, calls, size, macs, AIMS), mode=mode,
                    compile_seconds=seconds)
    finally:
        torch._dynamo.reset()
        release(steps)
