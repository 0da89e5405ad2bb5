"""Commands that run together for as long as there is time, such as a study.

The file is YAML:

    setup: tar xf .gpu/tiny_imagenet40.tar.xz -C $GPU_CHECK_SCRATCH
    jobs: 6
    results: $GPU_CHECK_SCRATCH/study/results.jsonl
    commands:
    - python tools/study.py PLAN --work-dir $GPU_CHECK_SCRATCH/study --only a
    - ...

Commands are given to a shell, in their order, ``jobs`` at a time. The
environment has ``GPU_CHECK_OUT`` and ``GPU_CHECK_SCRATCH``. What ``results``
names is copied to ``study.jsonl`` of --out every few seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml
from record import TAIL, Recorder, Setting

EVERY = 5  # seconds between two copies of the results
GRACE = 5  # seconds to end in order


def run(setting: Setting, recorder: Recorder) -> None:
    """Do what the file says, until the deadline."""
    if setting.study is None:
        recorder.say('study: no --study FILE')
        return
    plan = yaml.safe_load(setting.study.read_text())
    env = dict(os.environ, GPU_CHECK_OUT=str(setting.out),
               GPU_CHECK_SCRATCH=str(setting.scratch))
    if plan.get('setup'):
        start = time.perf_counter()
        found = subprocess.run(plan['setup'], shell=True, env=env, text=True,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
        recorder.write('setup', report(plan['setup'], found.returncode,
                                       found.stdout),
                       time.perf_counter() - start)
    run_together(plan, env, setting, recorder)


def run_together(plan: dict[str, Any], env: dict[str, str], setting: Setting,
                 recorder: Recorder) -> None:
    """Run the commands, and end what is left at the deadline."""
    waiting = list(enumerate(plan['commands']))
    running: dict[int, tuple[Any, str, Path, float]] = {}
    last_look = 0.
    while waiting or running:
        while waiting and len(running) < plan.get('jobs', len(waiting)):
            number, command = waiting.pop(0)
            log = setting.scratch / f'study_{number}.log'
            with open(log, 'wb') as file:
                process = subprocess.Popen(
                    command, shell=True, env=env, stdout=file,
                    stderr=subprocess.STDOUT, start_new_session=True)
            running[number] = process, command, log, time.time()
        late = time.time() > setting.deadline - GRACE
        if late:
            end([process for process, *_ in running.values()])
            waiting.clear()
        for number, (process, command, log, begun) in [*running.items()]:
            if process.poll() is not None:
                running.pop(number)
                text = log.read_text(errors='replace')
                recorder.write(
                    f'command_{number}',
                    dict(ran=command, stopped=True, log=text[-TAIL:]) if late
                    else report(command, process.returncode, text),
                    time.time() - begun)
        if time.time() > last_look + EVERY or not running:
            collect(plan, env, setting)
            last_look = time.time()
        time.sleep(.2)


def end(processes: list[Any]) -> None:
    """Ask processes to end, then make them."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signum)
        limit = time.time() + GRACE
        while time.time() < limit and any(
                process.poll() is None for process in processes):
            time.sleep(.1)


def report(command: str, status: int, log: str) -> dict[str, Any]:
    """Return the line of a command."""
    line: dict[str, Any] = dict(ran=command, status=status)
    if status:
        line['error'] = log[-TAIL:]
    return line


def collect(plan: dict[str, Any], env: dict[str, str],
            setting: Setting) -> None:
    """Copy the results so far."""
    if not plan.get('results'):
        return
    name = plan['results']
    for key in ('GPU_CHECK_OUT', 'GPU_CHECK_SCRATCH'):
        name = name.replace(f'${key}', env[key])
    if Path(name).exists():
        shutil.copyfile(name, setting.out / 'study.jsonl')
