"""Start a run on one or several processes, and shut it down gracefully."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_rank, is_distributed
from mmengine.logging import print_log


def is_node_leader() -> bool:
    """Whether this process does what a node needs once, such as writing."""
    return int(os.environ.get('LOCAL_RANK', get_rank())) == 0


def any_rank(flag: bool) -> bool:
    """Whether a flag is set in any process; the others wait for it."""
    common = torch.tensor(int(flag))
    all_reduce(common, 'max')
    return bool(common)


@contextmanager
def raise_on_all_ranks(
        kinds: tuple[type[Exception], ...],
        explain: Callable[[Exception | None], Exception]) -> Iterator[None]:
    """Have an error of one process end all, none waiting for it.

    ``explain`` makes the error to raise of the process's own, or of None.
    """
    error = None
    try:
        yield
    except kinds as caught:
        error = caught
    if any_rank(error is not None):
        shown = explain(error)
        raise shown from None if shown is error else error


def init_gloo(cfg: Config) -> None:
    """Form the process group over gloo, and wrap the model for it.

    mmengine's launchers choose a GPU and cannot start without one. Where the
    group is there already, they leave it as it is.

    Raises:
        ValueError: If the launcher is neither ``'pytorch'`` nor ``'slurm'``,
            or FSDP is to save whole weights.
    """
    if cfg.get('launcher', 'none') == 'none' or is_distributed():
        return
    if cfg.launcher == 'slurm':
        os.environ.update(slurm_environment())
    elif cfg.launcher != 'pytorch':
        raise ValueError("launcher must be 'pytorch' or 'slurm' where there "
                         f'is no accelerator, got {cfg.launcher!r}.')
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
    torch.distributed.init_process_group(
        'gloo', timeout=datetime.timedelta(seconds=seconds))
    strategy = cfg.get('strategy')
    if strategy is None:
        cfg.model_wrapper_cfg = dict(
            dict(type='MMDistributedDataParallel', broadcast_buffers=False),
            **cfg.get('model_wrapper_cfg') or {}, device_ids=None)
    elif str(strategy.type).endswith('FSDPStrategy'):
        strategy.setdefault('model_wrapper', {})
        strategy.model_wrapper.setdefault('type', 'MMFullyShardedDataParallel')
        strategy.model_wrapper.device_id = 'cpu'
        if strategy.get('state_dict_cfg', 'local') != 'local':
            # torch gathers each kind of state into one buffer, and counts on
            # the copy to the CPU: on one, all kinds get the last one's values
            raise ValueError(
                "strategy.state_dict_cfg must be 'local' where there is no "
                f'accelerator, got {strategy.state_dict_cfg!r}.')


def slurm_environment() -> dict[str, str]:
    """Return torch's variables from those of a slurm task.

    ``MASTER_ADDR`` and ``MASTER_PORT`` stay as they are where they are set.
    """
    first = os.environ.get('MASTER_ADDR') or subprocess.check_output(
        ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
        text=True).split()[0]
    return dict(
        RANK=os.environ['SLURM_PROCID'],
        LOCAL_RANK=os.environ['SLURM_LOCALID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
        MASTER_ADDR=first,
        MASTER_PORT=os.environ.get('MASTER_PORT', '29500'))


@contextmanager
def graceful_shutdown(work_dir: str) -> Iterator[None]:
    """Stop a run on SIGTERM or Ctrl-C and leave whole files.

    The process group is left only by a run that came to its end: after an
    error the others may wait in a collective, and to leave would wait for
    them. They and the launcher notice the end of the process.

    Raises:
        SystemExit: If the folder cannot be created or written, or with the
            status that a shell gives a process that was stopped.
    """
    asked: list[int] = []

    def stop(signum: int, frame: Any) -> None:
        asked.append(signum)
        print_log(
            f'stopped by {signal.Signals(signum).name}: --resume goes on from '
            f'the last checkpoint in {work_dir}.', logger='current')
        raise SystemExit(128 + signum)

    try:
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise SystemExit(f'work_dir must be a folder that can be written, got '
                         f'{work_dir}: {error.strerror}.') from error
    before = {number: signal.signal(number, stop)
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Exception as error:
        if asked:  # amid a write, torch makes an error of its own of it
            raise SystemExit(128 + asked[0]) from error
        raise
    else:
        if is_distributed():
            torch.distributed.destroy_process_group()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
