"""One JSON line a check, written at once; what is done is not done again."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL = 3000  # characters of a traceback or log that a line keeps


@dataclass(frozen=True)
class Setting:
    """What the command line says.

    Attributes:
        device (str): ``'cuda'`` or ``'cpu'``.
        toy (bool): Whether models and numbers are those of a dry run.
        out (Path): Folder of ``results.jsonl``.
        scratch (Path): Folder of what need not be kept.
        photos (Path, optional): Folder of photographs for the input checks.
        study (Path, optional): The file of the study phase.
        started (float): When the whole command began.
        deadline (float): When the phase ends, as ``time.time()`` has it.
    """

    device: str
    toy: bool
    out: Path
    scratch: Path
    photos: Path | None
    study: Path | None
    started: float
    deadline: float = float('inf')

    @property
    def results(self) -> Path:
        """The file of all lines."""
        return self.out / 'results.jsonl'

    def pick(self, real: Any, toy: Any) -> Any:
        """Return the one or the other."""
        return toy if self.toy else real


class SkippedError(Exception):
    """A check that cannot be made on this machine; the text says why."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a file, none where there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue  # cut by a kill
    return lines


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Append a line in one write, so that processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, json.dumps(line, default=str).encode() + b'\n')
    finally:
        os.close(file)


class Recorder:
    """Makes the checks of a phase and writes what they return.

    Args:
        phase (str): Name of the phase.
        setting (Setting): Of the command.
        say (Callable): Shows one line of text to whoever waits.
    """

    def __init__(self, phase: str, setting: Setting,
                 say: Callable[[str], None]) -> None:
        self.phase, self.setting, self.say = phase, setting, say

    def done(self, check: str) -> bool:
        """Whether a check has a result, or failed since the command began."""
        return any(
            line['phase'] == self.phase and line['check'] == check and
            line['device'] == self.setting.device and
            line['toy'] == self.setting.toy and
            ('error' not in line or line['time'] >= self.setting.started)
            for line in read_lines(self.setting.results))

    def check(self, name: str, function: Callable[..., dict[str, Any]],
              *args: Any) -> None:
        """Make a check and write its line, whatever becomes of it."""
        if self.done(name):
            return
        if time.time() > self.setting.deadline:
            self.say(f'{self.phase}/{name}: no time left')
            return
        self.current.write_text(name)
        start = time.perf_counter()
        line: dict[str, Any] = {}
        try:
            line = function(*args)
        except SkippedError as reason:
            line = dict(skipped=str(reason))
        except BaseException as error:
            line = dict(error=f'{type(error).__name__}: {error}'[:TAIL],
                        traceback=traceback.format_exc()[-TAIL:])
            if is_fatal(error):
                raise
        finally:
            self.write(name, line, time.perf_counter() - start)
            self.current.unlink(missing_ok=True)
        release_memory()

    @property
    def current(self) -> Path:
        """The file that names the check in progress."""
        return self.setting.scratch / f'{self.phase}.current'

    def write(self, name: str, line: dict[str, Any], seconds: float) -> None:
        """Write the line of a check, and a short form of it for the eye."""
        append_line(self.setting.results, dict(
            phase=self.phase, check=name, seconds=round(seconds, 2), **line,
            device=self.setting.device, toy=self.setting.toy,
            time=round(time.time(), 1), **self.about()))
        text = line.get('error') or ' '.join(
            f'{key}={value}' for key, value in line.items()
            if isinstance(value, (bool, int, float)) or key == 'skipped')
        self.say(f'{self.phase}/{name} ({seconds:.1f} s): {text[:300]}')

    def about(self) -> dict[str, Any]:
        """Return the machine, the versions and the command."""
        from projects.benchmark.lines import machine, versions
        try:
            found = dict(machine=machine(), versions=versions())
        except Exception as error:  # a device that no longer answers
            found = dict(machine={}, versions={}, unknown=str(error)[:200])
        return dict(found, command=' '.join(sys.argv))


def release_memory() -> None:
    """Give the device back what a check left, such as one out of memory."""
    import torch
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_fatal(error: BaseException) -> bool:
    """Whether the process is of no more use: the device is in error."""
    return not isinstance(error, Exception) or 'CUDA error' in str(error)


def quartiles(values: list[float]) -> Iterator[float]:
    """Yield the lower quartile, the median and the upper, 4 digits each."""
    for value in statistics.quantiles(values, n=4, method='inclusive'):
        yield float(f'{value:.4g}')


def device_ratios(line: dict[str, Any]) -> dict[str, float]:
    """Return the time of all kernels of a side over that of the first.

    Unlike the ratio of steps, it has no part in which the device waits for
    the host.
    """
    times = {name: side['device_milliseconds'] for name, side in line.items()
             if isinstance(side, dict) and side.get('device_milliseconds')}
    peer = next(iter(times.values()), None)
    return {name: round(own / peer, 4) for name, own in times.items()}
