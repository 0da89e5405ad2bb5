"""Train in several processes on the CPU, as a launcher would start them."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from socket import socket

import torch
import torch.multiprocessing as mp
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from amt_mm.engine.fit_config import fit_machine


def free_port():
    with socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def train_together(configs, local_ranks=None, inspect=None,
                   start_method='fork'):
    """Train one config in each process.

    Args:
        configs (list): One for each rank; a single one trains without a
            process group, in a process of its own.
        local_ranks (list, optional): LOCAL_RANK by rank; a 0 begins a node.
        inspect (callable, optional): Is called with (rank, runner) at the
            end, in the process.
        start_method (str): ``'forkserver'`` where the loss is compiled:
            torch cannot fork a process that has compiled anything.

    Returns:
        list: By rank the traceback of what was raised, or None.
    """
    world_size = len(configs)
    local_ranks = local_ranks or list(range(world_size))
    root = Path(configs[0].work_dir).parent
    mp.start_processes(
        _train, (configs, local_ranks, inspect, root, free_port()),
        nprocs=world_size, start_method=start_method)
    errors = [root / f'error_{rank}.txt' for rank in range(world_size)]
    return [e.read_text() if e.exists() else None for e in errors]


def _train(rank, configs, local_ranks, inspect, root, port):
    os.environ.update(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank),
        LOCAL_RANK=str(local_ranks[rank]), WORLD_SIZE=str(len(configs)))
    torch.set_num_threads(1)
    (root / f'error_{rank}.txt').unlink(missing_ok=True)
    try:
        cfg = configs[rank]
        cfg.launcher = 'pytorch' if len(configs) > 1 else 'none'
        cfg.env_cfg.dist_cfg.timeout = 60
        fit_machine(cfg)
        build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
        runner = build(cfg)
        runner.train()
        if inspect:
            inspect(rank, runner)
    except Exception:
        (root / f'error_{rank}.txt').write_text(traceback.format_exc())
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
