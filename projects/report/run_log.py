"""What the text log of a session tells: times, warnings, the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ENTRY = re.compile(
    r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - [\w.]+ - ([A-Z]+) - (.*)')
TIME_FORMAT = '%Y/%m/%d %H:%M:%S'
LOUD = ('WARNING', 'ERROR', 'CRITICAL')
BATCHES = re.compile(r'Epoch\(train\)\s+\[\d+\]\[\s*\d+/(\d+)\]')
PROCESSES = re.compile(r'^ *GPU number: (\d+)$', re.M)
MACHINE = re.compile(r'^ *(GPU [\d,]+|PyTorch): (.+)$', re.M)


@dataclass(frozen=True)
class RunLog:
    """What is read from one log.

    Attributes:
        seconds (float): From the first entry to the last.
        warnings (list[tuple[str, str]]): Times and texts of the entries that
            ask for attention.
        batches_per_epoch (int, optional): Training steps of an epoch.
        num_processes (int): Processes that train together.
        machine (str): Accelerators and version of torch.
    """

    seconds: float
    warnings: list[tuple[str, str]]
    batches_per_epoch: int | None
    num_processes: int
    machine: str


def read_log(path: Path) -> RunLog:
    """Read a log of mmengine; a damaged one tells what it still can."""
    text = path.read_text(errors='replace')
    entries = _entries(text)
    times = [t for t in (_time(entry[0]) for entry in entries) if t]
    seconds = (times[-1] - times[0]).total_seconds() if times else 0.
    batches, processes = BATCHES.search(text), PROCESSES.search(text)
    return RunLog(
        seconds=max(seconds, 0.),
        warnings=[(time, message) for time, level, message in entries
                  if level in LOUD],
        batches_per_epoch=int(batches[1]) if batches else None,
        num_processes=int(processes[1]) if processes else 1,
        machine=', '.join(f'{name} {what.strip()}'
                          for name, what in MACHINE.findall(text)))


def _entries(text: str) -> list[tuple[str, str, str]]:
    """Split a log into (time, level, message with its further lines)."""
    entries: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        found = ENTRY.match(line)
        if found:
            entries.append((found[1], found[2], found[3]))
        elif entries:
            time, level, message = entries[-1]
            if level in LOUD:
                entries[-1] = (time, level, f'{message}\n{line}')
    return entries


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, TIME_FORMAT)
    except ValueError:
        return None
