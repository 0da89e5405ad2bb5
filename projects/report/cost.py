"""What a run costs: counted on paper, and as its log has measured it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from amt_mm.engine import CostEstimate, estimate_cost
from amt_mm.masking import TokenCounts
from amt_mm.weights.config_text import part
from projects.benchmark.workload import Workload

from .run_folder import Run

# a name that no import of anything else can be hidden in
KNOWN_TYPE = re.compile(r'((amt_mm|mmpretrain|mmengine|mmcv)\.)?[A-Za-z]\w*')
# what a config that misses something makes of building from it
UNUSABLE = (ArithmeticError, AssertionError, AttributeError, ImportError,
            LookupError, NotImplementedError, RuntimeError, TypeError,
            ValueError)


@dataclass(frozen=True)
class Times:
    """Times that the log tells; None where it does not.

    Attributes:
        warmup (float, optional): Median seconds of a step before the first
            saliency update, the wait for data included.
        training (float, optional): The same after it, or of the whole run
            where saliency is never updated.
        updates (list[float]): Seconds of each saliency update.
        ratio (float, optional): Time of the run, updates included, over that
            of as many steps of the warm-up, which throw nothing.
    """

    warmup: float | None
    training: float | None
    updates: list[float]
    ratio: float | None


def plan_of(run: Run) -> CostEstimate | None:
    """Work out the plan of a run from its config; None if it has none."""
    if not _is_known(run.config):
        return None
    num_processes = run.logs[-1].num_processes if run.logs else 1
    try:
        return estimate_cost(Config(run.config), num_processes)
    except UNUSABLE:
        return None


def stock_macs(run: Run) -> int | None:
    """Count the multiply-accumulates of a step of a run without a plan.

    That is mmpretrain's own method, for one image; None if it is another.
    """
    if not _is_known(run.config):
        return None
    model = {'data_preprocessor': run.config.get('data_preprocessor'),
             **part(run.config, 'model')}
    backbone = part(model, 'backbone')
    init_default_scope('mmpretrain')
    try:
        side = int(backbone.get('patch_size', 16))
        num = int(backbone.get('img_size', 224)) // side
        counts = TokenCounts(num * num, 0, 0)
        return Workload(model, (num, num), side, counts).macs()
    except UNUSABLE:
        return None


def times_of(run: Run) -> Times:
    """Take the median times before and after the first saliency update."""
    updates = [r for r in run.epochs if 'saliency/seconds' in r]
    begin = updates[0]['epoch'] if updates else 0
    timed = [(r['epoch'] <= begin, r['time'])
             for r in run.steps if r.get('time', 0) > 0]
    warmup = _median([time for is_warmup, time in timed if is_warmup])
    training = _median([time for is_warmup, time in timed if not is_warmup])
    seconds = [r['saliency/seconds'] for r in updates]
    ratio = None
    if warmup and training:
        num_warmup = begin * run.batches_per_epoch
        num_steps = run.steps[-1]['step']
        spent = num_warmup * warmup + (num_steps - num_warmup) * training
        ratio = (spent + sum(seconds)) / (num_steps * warmup)
    return Times(warmup, training, seconds, ratio)


def batch_size_of(run: Run) -> int | None:
    """Return the images of one step, over all processes."""
    size = part(run.config, 'train_dataloader').get('batch_size')
    if not isinstance(size, int) or not run.logs:
        return None
    return size * run.logs[-1].num_processes


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _is_known(config: dict[str, Any]) -> bool:
    """Tell whether all classes of a config are of the project's stack."""
    return bool(config.get('model')) and 'custom_imports' not in config and \
        all(isinstance(name, str) and KNOWN_TYPE.fullmatch(name)
            for name in _types(config))


def _types(node: Any) -> Iterator[Any]:
    """Yield every ``type`` and ``_scope_`` of a config."""
    if isinstance(node, dict):
        yield from (node[key] for key in ('type', '_scope_') if key in node)
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, (dict, list, tuple)):
        for child in children:
            yield from _types(child)
