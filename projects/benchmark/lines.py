"""Results as JSON lines, with what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amt_mm.families import installed_version

from .item import Item, Result


def machine() -> dict[str, Any]:
    """Say what the process runs on; neither its name nor a path is in it."""
    found: dict[str, Any] = dict(
        cpu=cpu_model(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads())
    if torch.cuda.is_available():
        found['gpu'] = torch.cuda.get_device_name()
    return found


def cpu_model() -> str:
    """Return the model of the CPU, as the system calls it."""
    info = Path('/proc/cpuinfo')
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, Any]:
    """Return the versions of what is measured."""
    return dict(
        python=platform.python_version(),
        torch=version('torch'),
        mmengine=installed_version('mmengine'),
        mmpretrain=installed_version('mmpretrain'),
        numpy=np.__version__)


def line_of(item: Item, result: Result) -> dict[str, Any]:
    """Return everything about a result, ready for JSON."""
    line = asdict(result)
    extra = line.pop('extra')
    line.update(
        value=_short(result.value),
        quartiles=[_short(q) for q in result.quartiles])
    return dict(
        measured=item.name, **line, meets_aim=result.meets_aim, **extra,
        machine=machine(), versions=versions())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a file, none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else []


def merge(path: Path, lines: list[dict[str, Any]]) -> None:
    """Put new lines into a file, in place of those of the same items."""
    measured = {line['measured'] for line in lines}
    kept = [old for old in read_lines(path) if old['measured'] not in measured]
    merged = sorted(kept + lines, key=lambda line: line['measured'])
    rows = ',\n'.join(json.dumps(line) for line in merged)
    path.write_text(f'[\n{rows}\n]\n')


def _short(value: float) -> float:
    return float(f'{value:.4g}')
