"""Let a resumed run follow the schedule that its config describes.

mmengine restores the state of the schedulers and of the optimiser, and with
them the length, the batch size and the rate that the run had before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

# the part of a scheduler's state that is its position
POSITION = ('last_step', '_global_step', '_last_value', 'verbose')


Group = dict[str, Any]


class _Settings:
    """The settings of an optimiser's groups, each different one once.

    Schedulers take it for an optimiser that has made steps. With a group for
    each parameter, stepping all groups would take minutes.

    Args:
        groups (Sequence[dict]): The groups of the optimiser.
    """

    _global_step = 0

    def __init__(self, groups: Sequence[Group]) -> None:
        settings = [{key: value for key, value in group.items()
                     if key != 'params'} for group in groups]
        self.param_groups: list[Group] = []
        for setting in settings:
            if setting not in self.param_groups:
                self.param_groups.append(setting)
        self.index_of = [self.param_groups.index(s) for s in settings]

    def step(self) -> None:
        """Do nothing."""

    step._with_counter = True  # type: ignore[attr-defined]

    def advance(self, schedulers: Sequence[_ParamScheduler], iterations: int,
                length: int) -> list[dict[str, Any]]:
        """Step schedulers as ``ParamSchedulerHook`` does.

        Args:
            schedulers (Sequence): Those that have made no step; they stay so.
            iterations (int): How many to step.
            length (int): Iterations of an epoch, 0 where there are no epochs.

        Returns:
            list[dict]: The states of the schedulers.
        """
        firsts = [self.index_of.index(n)
                  for n in range(len(self.param_groups))]
        twins = []
        for scheduler in schedulers:
            twin = copy(scheduler)
            twin.optimizer, twin.verbose = self, False
            twin.base_values = [scheduler.base_values[i] for i in firsts]
            twins.append(twin)
        by_iter = [twin for twin in twins if not twin.by_epoch]
        by_epoch = [twin for twin in twins if twin.by_epoch]
        for done in range(1, iterations + 1):
            ends = length and done % length == 0
            for twin in by_iter + (by_epoch if ends else []):
                twin.step()
        return [
            dict(scheduler.state_dict(), last_step=twin.last_step,
                 _global_step=twin._global_step,
                 _last_value=[twin._last_value[n] for n in self.index_of])
            for scheduler, twin in zip(schedulers, twins, strict=True)
        ]

    def write(self, names: Iterable[str], groups: Sequence[Group]) -> None:
        """Write the values of some names into the groups."""
        for group, n in zip(groups, self.index_of, strict=False):
            group.update({name: self.param_groups[n][name] for name in names
                          if name in self.param_groups[n]})


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
    settings = _Settings(groups)
    checkpoint['param_schedulers'] = settings.advance(
        schedulers, meta['iter'], length)
    for changed in (groups, _stored_groups(checkpoint)):
        settings.write(_scheduled_names(schedulers), changed)
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
    """List how the config's schedule differs from a checkpoint's."""
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


def _stored_groups(checkpoint: dict[str, Any]) -> list[Group]:
    """Return the groups as ``OptimWrapper.param_groups`` gives them."""
    stored = checkpoint.get('optimizer', {})
    extra = stored.get('base_param_settings')
    return [*stored.get('param_groups', ()), *([extra] if extra else [])]


def _scheduled_names(schedulers: Sequence[_ParamScheduler]) -> set[str]:
    """Return the names of what is scheduled, and of what it began with."""
    names = {s.param_name for s in schedulers} | {'lr'}
    names |= {f'initial_{name}' for name in names}
    return names | ({'betas'} if 'momentum' in names else set())


def _changes(schedulers: Sequence[_ParamScheduler],
             stored: Sequence[Group], num: int) -> Iterator[str]:
    """Yield how the schedulers differ from those of a checkpoint.

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
                  groups: Sequence[Group],
                  stored: Sequence[Group]) -> Iterator[str]:
    """Yield how the rate differs where it is not scheduled."""
    if stored and all(s.param_name != 'lr' for s in schedulers):
        old, new = ([g['lr'] for g in some] for some in (stored, groups))
        if old != new:
            yield f'lr {_brief(old)} -> {_brief(new)}'


def _brief(values: Sequence[float]) -> str:
    """Format the range of some numbers."""
    low, high = min(values), max(values)
    return f'{low:.4g}' if low == high else f'{low:.4g} to {high:.4g}'
