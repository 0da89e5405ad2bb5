"""The learning rate of a run, as its config describes it."""

from __future__ import annotations

from mmengine.config import Config


def check_schedulers(cfg: Config) -> None:
    """Raise ValueError if a run ends before one of its schedules begins."""
    max_epochs = cfg.train_cfg.max_epochs
    for index, scheduler in enumerate(cfg.get('param_scheduler') or ()):
        begin = scheduler.get('begin', 0)
        if scheduler.get('by_epoch', True) and begin >= max_epochs:
            raise ValueError(
                f'param_scheduler.{index}.begin must be < max_epochs, got '
                f'{begin} and {max_epochs}: a shorter run needs a shorter '
                'warm-up.')


def peak_learning_rate(cfg: Config,
                       world_size: int = 1) -> tuple[int, float, str]:
    """Return effective batch size, peak rate, and where the rate comes from.

    Args:
        cfg (Config): The config of a run.
        world_size (int): Number of processes. Defaults to 1.
    """
    # mmengine scales by the batch of one step, without accumulation
    real = cfg.train_dataloader.batch_size * world_size
    batch_size = real * cfg.optim_wrapper.get('accumulative_counts', 1)
    lr = cfg.optim_wrapper.optimizer.lr
    rule = cfg.get('auto_scale_lr') or {}
    base = rule.get('base_batch_size')
    if not base or base == batch_size:
        return batch_size, lr, 'as in the config'
    if rule.get('enable'):
        return batch_size, lr * real / base, f'{lr:.3g} scaled from {base}'
    return batch_size, lr, (
        f'meant for a batch of {base}: --auto-scale-lr would scale it')
