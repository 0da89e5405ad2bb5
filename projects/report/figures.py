"""The figures of a run in a table: what it is, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from amt_mm.engine import CostEstimate
from amt_mm.evaluation import Checkup, judge
from amt_mm.masking.plan import ROLES
from amt_mm.weights.config_text import part

from .cost import Times, batch_size_of, stock_macs, times_of
from .run_folder import Record, Run


@dataclass(frozen=True)
class Figure:
    """A row of the table; a value is empty where the run does not tell."""

    name: str
    unit: str
    values: list[str]


Column = dict[tuple[str, str], str]


def figures(
        runs: Sequence[Run],
        plans: Sequence[CostEstimate | None]) -> dict[str, list[Figure]]:
    """Return, by heading, the rows that tell something of any run."""
    return {
        'Run': _rows([_progress(run) for run in runs]),
        'Results': _rows([_results(run) for run in runs]),
        'Time and cost': _rows([
            {**_times(run, times_of(run)), **_cost(run, plan)}
            for run, plan in zip(runs, plans, strict=True)
        ]),
    }


def _rows(columns: list[Column]) -> list[Figure]:
    keys = dict.fromkeys(key for column in columns for key in column)
    return [Figure(*key, values) for key in keys
            if any(values := [column.get(key, '') for column in columns])]


def _progress(run: Run) -> Column:
    epochs = f'{run.epoch} of {run.max_epochs}' if run.max_epochs \
        else str(run.epoch)
    return {
        ('Method', ''): _method(run),
        ('Epochs', 'reached'): epochs,
        ('Batch', 'images'): _number(batch_size_of(run), ',d'),
        ('Verdict', 'without labels'): verdict_of(run),
        ('Starts', 'the first and each resumption'): str(len(run.logs)),
        ('Warnings', 'in the logs'): _number(len(run.warnings), ',d'),
    }


def verdict_of(run: Run) -> str:
    """Say whether a run learns, where its checkups tell."""
    checkups = [
        Checkup.of({'epoch': int(record['epoch'])} | {
            key.removeprefix('checkup/'): value
            for key, value in record.items() if key.startswith('checkup/')})
        for record in run.epochs if 'checkup/loss' in record]
    return str(judge(checkups)) if len(checkups) > 1 else ''


def _method(run: Run) -> str:
    name = str(part(run.config, 'model').get('type', ''))
    return name.removeprefix('amt_mm.')


def _results(run: Run) -> Column:
    shares = {
        (f'P({role} | salient)', ''):
        _number(_last(run.steps, f'p_{role}_salient'), '.3f')
        for role in ROLES
    }
    return {
        ('Loss', ''): _number(_last(run.steps, 'loss'), '.4g'),
        ('k-NN accuracy', '%, top-1'):
        _number(_last(run.epochs, 'probe/knn_top1'), '.2f'),
        ('Linear accuracy', '%, top-1'):
        _number(_last(run.epochs, 'probe/linear_top1'), '.2f'),
        ('Held-out loss', 'at the last checkup'):
        _number(_last(run.epochs, 'checkup/heldout_loss'), '.4g'),
        ('RankMe', 'dimensions'):
        _number(_last(run.epochs, 'checkup/rank_me'), '.1f'),
        ('Average precision', 'of saliency'):
        _number(_last(run.epochs, 'localization/average_precision'), '.3f'),
        ('Entropy of the maps', ''):
        _number(_last(run.epochs, 'saliency/entropy'), '.3f'),
        ('Uniform maps', 'at the last update'):
        _number(_last(run.epochs, 'saliency/uniform'), ',.0f'),
        **shares,
    }


def _times(run: Run, times: Times) -> Column:
    batch, step = batch_size_of(run), times.training or times.warmup
    memory = max((r['memory'] for r in run.steps if 'memory' in r), default=0)
    return {
        ('Time', 'on the clock'):
        duration(run.seconds) if run.logs else '',
        ('Step, warm-up', 'ms, median'):
        _number(times.warmup, '.4g', 1000),
        ('Step', 'ms, median'): _number(times.training, '.4g', 1000),
        ('Throughput', 'images/s'):
        _number(batch / step, ',.0f') if batch and step else '',
        ('Saliency updates', ''):
        f'{len(times.updates)}' if times.updates else '',
        ('Time of the updates', ''):
        duration(sum(times.updates)) if times.updates else '',
        ('Time of all steps', '× stock'): _number(times.ratio, '.3f'),
        ('Memory', 'MB, largest'): _number(memory or None, ',.0f'),
    }


def _cost(run: Run, plan: CostEstimate | None) -> Column:
    step = ('Arithmetic, step', 'GMACs/image')
    if plan is None:
        macs = stock_macs(run)
        return {step: _number(macs and macs / 1e9, '.4g')}
    training = plan.phases[-1]
    return {
        step: _number(training.macs / 1e9, '.4g'),
        ('Arithmetic, step', '× stock'):
        _number(training.macs / plan.stock_macs, '.3f'),
        ('Arithmetic, whole run', '× stock'):
        _number(plan.cost, '.3f'),
    }


def duration(seconds: float) -> str:
    """Say a time in its two largest units: ``3 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours:,} h {minutes:02d} min'
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


def _last(records: Sequence[Record], key: str) -> float | None:
    return next((r[key] for r in reversed(records) if key in r), None)


def _number(value: float | None, form: str, factor: float = 1) -> str:
    if value is None:
        return ''
    return f'{value * factor:{form}}' if isfinite(value) else 'not finite'
