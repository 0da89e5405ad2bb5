"""Let a resumed run follow the schedule that its config describes.

mmengine restores the state of the schedulers and of the optimiser, and with
them the length, the batch size and the rate that the run had before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

# what of a scheduler's state is its position, and not its description
POSITION = ('last_step', '_global_step', '_last_value', 'verbose')


class _Groups:
    """What a scheduler sees of an optimiser that has made steps."""

    _global_step = 0

    def __init__(self, param_groups: list[dict[str, Any]]) -> None:
        self.param_groups = param_groups

    def step(self) -> None:
        """Do nothing."""

    step._with_counter = True  # type: ignore[attr-defined]


def follow_config(runner: Runner, checkpoint: dict[str, Any],
                  by_epoch: bool) -> None:
    """Replace the schedule in a checkpoint where the config has another.

    The schedulers of the config are stepped from the start to the epoch that
    the run is at, so that each rate is the one of a run that had this config
    all along. A checkpoint with the same schedule is left as it is.

    Args:
        runner (Runner): Its schedulers are built and have made no step.
        checkpoint (dict): Of the run to resume, as ``after_load_checkpoint``
            gets it; ``param_schedulers``, the rates in ``optimizer`` and
            ``meta['iter']`` are changed in place.
        by_epoch (bool): Whether the checkpoint was saved after an epoch, and
            not within one.
    """
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):  # of several optimisers
        return
    changes = _all_changes(runner, schedulers, checkpoint, by_epoch)
    if not changes:
        return
    if any(getattr(s, 'need_val_args', False) for s in schedulers):
        runner.logger.warning(
            'the schedule of the checkpoint is kept, as it depends on past '
            f'results, though the config has another: {"; ".join(changes)}')
        return
    meta, length = checkpoint['meta'], _epoch_length(runner)
    if length:
        meta['iter'] = meta['epoch'] * length
    groups = runner.optim_wrapper.param_groups
    kinds, kind_of = _distinct(groups)
    checkpoint['param_schedulers'] = _advance(schedulers, kinds, kind_of,
                                              meta['iter'], length)
    _set_values(schedulers, kinds, kind_of, groups)
    _set_values(schedulers, kinds, kind_of, _stored_groups(checkpoint))
    rates = [g['lr'] for g in runner.optim_wrapper.optimizer.param_groups]
    runner.logger.info(
        f'the schedule follows the config, which differs from the checkpoint, '
        f'from epoch {meta["epoch"]} (iteration {meta["iter"]}) on: '
        f'{"; ".join(changes)}. The learning rate is now {_brief(rates)}.')


def _epoch_length(runner: Runner) -> int:
    """Return the iterations of an epoch, 0 where there are no epochs."""
    has_epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return len(runner.train_dataloader) if has_epochs else 0


def _all_changes(runner: Runner, schedulers: Sequence[_ParamScheduler],
                 checkpoint: dict[str, Any], by_epoch: bool) -> list[str]:
    """Say in what the config's schedule differs from a checkpoint's."""
    groups = runner.optim_wrapper.optimizer.param_groups
    num, meta = len(groups), checkpoint['meta']
    changes = [
        *_changes(schedulers, checkpoint.get('param_schedulers', ()), num),
        *_changed_rate(schedulers, groups, _stored_groups(checkpoint)[:num])]
    length = _epoch_length(runner)
    begin = meta['epoch'] * length
    if length and not \
            begin <= meta['iter'] <= begin + (0 if by_epoch else length):
        changes.append(f'iterations of {meta["epoch"]} epochs '
                       f'{meta["iter"]} -> {begin}')
    return changes


def _stored_groups(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the groups as ``OptimWrapper.param_groups`` gives them."""
    stored = checkpoint.get('optimizer', {})
    extra = stored.get('base_param_settings')
    return [*stored.get('param_groups', ()), *([extra] if extra else [])]


def _set_values(schedulers: Sequence[_ParamScheduler],
                kinds: Sequence[dict[str, Any]], kind_of: Sequence[int],
                groups: Sequence[dict[str, Any]]) -> None:
    """Write what is scheduled, and what it began with, into groups."""
    names = {s.param_name for s in schedulers} | {'lr'}
    names |= {f'initial_{name}' for name in names}
    names |= {'betas'} if 'momentum' in names else set()
    for group, kind in zip(groups, kind_of, strict=False):
        group.update({name: kinds[kind][name]
                      for name in names & kinds[kind].keys()})


def _changes(schedulers: Sequence[_ParamScheduler],
             stored: Sequence[dict[str, Any]], num: int) -> Iterator[str]:
    """Say in what the schedulers differ from those of a checkpoint.

    After the ``num`` groups of the optimiser they schedule one that mmengine
    adds for the log.
    """
    if len(schedulers) != len(stored):
        yield f'{len(stored)} -> {len(schedulers)} schedulers'
    for scheduler, old in zip(schedulers, stored, strict=False):
        new = scheduler.state_dict()
        keys = [key for key in {**old, **new} if key not in POSITION
                and not callable(new.get(key))]
        for key in keys:
            if old.get(key) != new.get(key):
                was, now = old.get(key), new.get(key)
                if key == 'base_values':
                    was, now = (_brief(some[key][:num]) for some in (old, new))
                yield f'{key} of {type(scheduler).__name__} {was} -> {now}'


def _changed_rate(schedulers: Sequence[_ParamScheduler],
                  groups: Sequence[dict[str, Any]],
                  stored: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Say how the rate differs, where no scheduler tells."""
    if stored and all(s.param_name != 'lr' for s in schedulers):
        old, new = ([g['lr'] for g in some] for some in (stored, groups))
        if old != new:
            yield f'lr {_brief(old)} -> {_brief(new)}'


def _brief(values: Sequence[float]) -> str:
    """Show the range of some numbers."""
    low, high = min(values), max(values)
    return f'{low:.4g}' if low == high else f'{low:.4g} to {high:.4g}'


def _distinct(groups: Sequence[dict[str, Any]]
              ) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the different settings of groups, and which each group has.

    With a group for each parameter, stepping all of them would take minutes.
    """
    settings = [{key: value for key, value in group.items()
                 if key != 'params'} for group in groups]
    kinds: list[dict[str, Any]] = []
    for setting in settings:
        if setting not in kinds:
            kinds.append(setting)
    kind_of = [kinds.index(setting) for setting in settings]
    return [dict(kind) for kind in kinds], kind_of


def _advance(schedulers: Sequence[_ParamScheduler],
             kinds: list[dict[str, Any]], kind_of: Sequence[int],
             iterations: int, length: int) -> list[dict[str, Any]]:
    """Step schedulers as ``ParamSchedulerHook`` does, and return their states.

    Args:
        schedulers (Sequence): Those that have made no step; they stay so.
        kinds (list[dict]): Settings of groups, which follow the steps.
        kind_of (Sequence[int]): The index in ``kinds`` of each group.
        iterations (int): How many to step.
        length (int): Iterations of an epoch, 0 where there are no epochs.
    """
    firsts = [kind_of.index(kind) for kind in range(len(kinds))]
    light = _Groups(kinds)
    twins = []
    for scheduler in schedulers:
        twin = copy(scheduler)
        twin.optimizer, twin.verbose = light, False
        twin.base_values = [scheduler.base_values[i] for i in firsts]
        twins.append(twin)
    by_iter = [twin for twin in twins if not twin.by_epoch]
    by_epoch = [twin for twin in twins if twin.by_epoch]
    for done in range(1, iterations + 1):
        for twin in by_iter:
            twin.step()
        for twin in by_epoch if length and done % length == 0 else ():
            twin.step()
    return [
        dict(scheduler.state_dict(), last_step=twin.last_step,
             _global_step=twin._global_step,
             _last_value=[twin._last_value[kind] for kind in kind_of])
        for scheduler, twin in zip(schedulers, twins, strict=True)
    ]
