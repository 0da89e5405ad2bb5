"""tools/dist_train.sh and tools/slurm_train.sh, on CPUs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import free_port
from test_train import CUSTOM, SHORT, SMALL_VIT

TOOLS = Path(__file__).parents[2] / 'tools'

# as much of srun as a task of a job sees: its number, on its node
SRUN = """#!/usr/bin/env bash
for arg in "$@"; do
    case "$arg" in
        --ntasks=*) tasks=${arg#*=} ;;
        --ntasks-per-node=*) per_node=${arg#*=} ;;
    esac
done
while [ "$1" != "$PYTHON" ]; do echo "$1" >> "$SRUN_LOG"; shift; done
pids=()
for ((i = 0; i < tasks; i++)); do
    SLURM_PROCID=$i SLURM_LOCALID=$((i % per_node)) SLURM_NTASKS=$tasks \\
        SLURM_NODELIST=node[0-9] "$@" & pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || exit 1; done
"""
SCONTROL = '#!/bin/sh\necho 127.0.0.1\necho node1\n'


def _options(data):
    return ['--cfg-options', *SMALL_VIT, *SHORT, f'data_root={data / "train"}',
            'train_dataloader.dataset.indices=10', 'train_cfg.max_epochs=2']


def _start(script, *args, **environ):
    environ = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1',
               **environ}
    return subprocess.Popen(
        [TOOLS / script, *map(str, args)], env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _finish(*started):
    outputs = [process.communicate(timeout=300)[0] for process in started]
    for process, output in zip(started, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return outputs


def _maps(work_dir):
    return np.load(work_dir / 'saliency' / 'epoch_0001.npy')['map']


def test_dist_train_on_two_nodes_with_folders_of_their_own(demo_data,
                                                           tmp_path):
    port = str(free_port())
    log, _ = _finish(*(_start(
        'dist_train.sh', CUSTOM, 1, '--work-dir', tmp_path / f'node{n}',
        *_options(demo_data), NNODES='2', NODE_RANK=str(n), PORT=port)
        for n in (0, 1)))
    # 2 processes of 4 images each, at 1.5e-4 for 256
    assert 'effective batch size 8, peak learning rate 4.69e-06' in log
    assert log.count('Epoch(train) [2][2/2]') == 1
    maps = [_maps(tmp_path / f'node{n}') for n in (0, 1)]
    np.testing.assert_array_equal(*maps)
    assert (maps[0] != 0).any((1, 2)).all()
    assert (tmp_path / 'node0' / 'epoch_2.pth').is_file()


def test_slurm_train_on_two_nodes(demo_data, tmp_path):
    for name, script in dict(srun=SRUN, scontrol=SCONTROL).items():
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    asked = tmp_path / 'asked'
    log, = _finish(_start(
        'slurm_train.sh', 'cpu', 'amt', CUSTOM, tmp_path / 'run',
        *_options(demo_data), GPUS='2', GPUS_PER_NODE='0', TASKS_PER_NODE='1',
        SRUN_ARGS='--quiet --exclusive', SRUN_LOG=str(asked),
        MASTER_PORT=str(free_port()),
        PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}'))
    assert 'effective batch size 8' in log
    assert asked.read_text().split() == [
        '-p', 'cpu', '--job-name=amt', '--ntasks=2', '--ntasks-per-node=1',
        '--cpus-per-task=5', '--kill-on-bad-exit=1', '--quiet', '--exclusive']
    assert (_maps(tmp_path / 'run') != 0).any((1, 2)).all()


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_usage(script):
    process = _start(script, 'config.py')
    assert 'CONFIG' in process.communicate(timeout=60)[0]
    assert process.returncode == 2
