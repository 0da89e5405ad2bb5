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

# the part of a scheduler's state that is its position
POSITION = ('last_step', '_global_step', '_last_value', 'verbose')

Group = dict[str, Any]


class _Settings:
    """The settings of an optimiser's groups, each different one once.

    Schedulers take it for an optimiser that has made steps. With a group for
    each parameter, stepping all groups would take minutes.
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
        """Step copies as ``ParamSchedulerHook`` does; return their states.

        ``length`` is the iterations of an epoch, 0 where there are no epochs.
        """
        firsts = [self.index_of.index(n)
                  for n in range(len(self.param_groups))]
        twins = [copy(scheduler) for scheduler in schedulers]
        for twin in twins:
            twin.optimizer, twin.verbose = self, False
            twin.base_values = [twin.base_values[i] for i in firsts]
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


def follow_config(runner: Runner, checkpoint: dict[str, Any],
                  by_epoch: bool) -> None:
    """Replace the schedule in a checkpoint where the config has another.

    The schedulers of the config, which are built and have made no step, are
    stepped from the start to the epoch that the run is at, so that each rate
    is the one of a run that had this config all along. What changes of the
    checkpoint are ``param_schedulers``, the rates in ``optimizer`` and
    ``meta['iter']``. One with the same schedule is left as it is. ``by_epoch``
    says that it was saved after an epoch, and not within one.
    """
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):  # of several optimisers
        return
    has_epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
    length = len(runner.train_dataloader) if has_epochs else 0
    own = runner.optim_wrapper.optimizer.param_groups
    stored = checkpoint.get('optimizer', {})
    groups, meta = stored.get('param_groups', []), checkpoint['meta']
    changes = [*_changes(schedulers, checkpoint.get('param_schedulers', ()),
                         own, groups)]
    begin = meta['epoch'] * length
    if length and not \
            begin <= meta['iter'] <= begin + (0 if by_epoch else length):
        changes.append(f'iterations of {meta["epoch"]} epochs '
                       f'{meta["iter"]} -> {begin}')
    if not changes:
        return
    if any(getattr(s, 'need_val_args', False) for s in schedulers):
        runner.logger.warning(
            'the schedule of the checkpoint is kept, as it depends on past '
            f'results, though the config has another: {"; ".join(changes)}')
        return
    if length:
        meta['iter'] = begin
    # with a group for the log, behind those of the optimiser
    extra = stored.get('base_param_settings')
    _write(checkpoint, meta['iter'], length, schedulers,
           runner.optim_wrapper.param_groups,
           [*groups, *([extra] if extra else [])])
    runner.logger.info(
        f'the schedule follows the config, which differs from the checkpoint, '
        f'from epoch {meta["epoch"]} (iteration {meta["iter"]}) on: '
        f'{"; ".join(changes)}. The learning rate is now '
        f'{_brief([group["lr"] for group in own])}.')


def _write(checkpoint: dict[str, Any], iterations: int, length: int,
           schedulers: Sequence[_ParamScheduler],
           *targets: Sequence[Group]) -> None:
    """Write the states of schedulers, and what they make of the groups."""
    settings = _Settings(targets[0])
    checkpoint['param_schedulers'] = settings.advance(
        schedulers, iterations, length)
    names = {s.param_name for s in schedulers} | {'lr'}
    names |= {f'initial_{name}' for name in names}
    names |= {'betas'} if 'momentum' in names else set()
    for groups in targets:
        for group, n in zip(groups, settings.index_of, strict=False):
            now = settings.param_groups[n]
            group.update({name: now[name] for name in names if name in now})


def _changes(schedulers: Sequence[_ParamScheduler], stored: Sequence[Group],
             groups: Sequence[Group],
             stored_groups: Sequence[Group]) -> Iterator[str]:
    """Yield how schedulers and groups differ from those of a checkpoint."""
    if len(schedulers) != len(stored):
        yield f'{len(stored)} -> {len(schedulers)} schedulers'
    for scheduler, old in zip(schedulers, stored, strict=False):
        new = scheduler.state_dict()
        for key in {**old, **new}:
            was: Any = old.get(key)
            now: Any = new.get(key)
            if key in POSITION or callable(now) or was == now:
                continue
            if key == 'base_values':  # without that of the group for the log
                was, now = (_brief(some[:len(groups)]) for some in (was, now))
            yield f'{key} of {type(scheduler).__name__} {was} -> {now}'
    if stored_groups and all(s.param_name != 'lr' for s in schedulers):
        before, now = ([group['lr'] for group in some[:len(groups)]]
                       for some in (stored_groups, groups))
        if before != now:
            yield f'lr {_brief(before)} -> {_brief(now)}'


def _brief(values: Sequence[float]) -> str:
    """Format the range of some numbers."""
    low, high = min(values), max(values)
    return f'{low:.4g}' if low == high else f'{low:.4g} to {high:.4g}'
