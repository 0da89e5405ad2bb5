"""A run as its work dir tells it, over all the times it was resumed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

from amt_mm.weights.config_text import parse_config, part

from .run_log import RunLog, read_log

SESSION = re.compile(r'\d{8}_\d{6}')
PICTURE = re.compile(r'(.+)_(\d+)\.png')
MAX = sys.float_info.max
Record = dict[str, float]


class NoRunError(ValueError):
    """A folder holds no run; the message says what was looked for."""


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        folder (Path): Its work dir.
        config_text (str): The config, as the last session had it.
        steps (list[dict]): What was logged of training, in the order of the
            steps; of a step that was repeated, what came last.
        epochs (list[dict]): What was logged between epochs: probes, saliency
            updates, localization.
        logs (list[RunLog]): One a session.
        pictures (dict[str, dict[int, Path]]): By name and step.
    """

    folder: Path
    config_text: str
    steps: list[Record]
    epochs: list[Record]
    logs: list[RunLog]
    pictures: dict[str, dict[int, Path]]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config as data; nothing in it is executed."""
        return parse_config(self.config_text)

    @property
    def max_epochs(self) -> int | None:
        """How many epochs the config asks for, where it tells."""
        found = part(self.config, 'train_cfg').get('max_epochs')
        return found if isinstance(found, int) else None

    @property
    def epoch(self) -> int:
        """The last epoch of which something was logged, from 1."""
        return int(self.steps[-1]['epoch']) if self.steps else 0

    @property
    def seconds(self) -> float:
        """The time of all sessions."""
        return sum(log.seconds for log in self.logs)

    @cached_property
    def warnings(self) -> dict[str, list[str]]:
        """The times of the log's warnings, by their text."""
        times: dict[str, list[str]] = {}
        for log in self.logs:
            for time, text in log.warnings:
                times.setdefault(text, []).append(time)
        return times

    @cached_property
    def batches_per_epoch(self) -> float:
        """Training steps of an epoch; what the records tell, without a log."""
        for log in reversed(self.logs):
            if log.batches_per_epoch:
                return log.batches_per_epoch
        return max((r['step'] / r['epoch'] for r in self.steps), default=1)


def read_run(folder: Path) -> Run:
    """Read a work dir of mmengine; what is missing in it is left empty.

    Raises:
        NoRunError: If it holds no session of a run.
    """
    sessions = sorted(
        path for path in folder.iterdir()
        if SESSION.fullmatch(path.name) and path.is_dir()
    ) if folder.is_dir() else []
    if not sessions:
        what = 'is no folder' if not folder.is_dir() else \
            'holds none' if any(folder.iterdir()) else 'is empty'
        raise NoRunError(
            f'WORK_DIR must hold folders such as 20260131_235959, which '
            f'training makes in its work dir; {folder} {what}.')
    steps: list[Record] = []
    epochs: dict[tuple, Record] = {}
    pictures: dict[str, dict[int, Path]] = {}
    for session in sessions:
        own = list(_records(session / 'vis_data' / 'scalars.json'))
        trained = [r for r in own if 'iter' in r and 'step' in r]
        if trained:  # what follows a checkpoint is trained anew
            epoch = trained[0]['epoch']
            steps = [r for r in steps if r['epoch'] < epoch] + trained
            epochs = {key: r for key, r in epochs.items()
                      if r['epoch'] < epoch}
        epochs |= {(r['epoch'], *sorted(r)): r for r in own if 'iter' not in r}
        for name, step, path in _pictures(session / 'vis_data' / 'vis_image'):
            pictures.setdefault(name, {})[step] = path
    return Run(
        folder=folder,
        config_text=_config_text(sessions),
        steps=steps,
        epochs=sorted(epochs.values(), key=lambda r: r['epoch']),
        logs=[read_log(path) for session in sessions
              for path in sorted(session.glob('*.log'))[:1]],
        pictures={name: dict(sorted(found.items()))
                  for name, found in sorted(pictures.items())})


def _records(path: Path) -> Iterator[Record]:
    """Yield the lines of a file of scalars that tell of an epoch."""
    lines = path.read_text(errors='replace').splitlines() \
        if path.is_file() else []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the last line of a run that was killed, or goes on
        if not isinstance(record, dict):
            continue
        numbers = {
            key: value if abs(value) <= MAX else nan
            for key, value in record.items() if isinstance(value, (int, float))
        }
        if numbers.get('epoch', -1) >= 0 and (
                'iter' not in numbers or numbers['epoch'] >= 1):
            yield numbers


def _pictures(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield (name, step, path) of the pictures that were saved."""
    for path in folder.glob('*.png'):
        found = PICTURE.fullmatch(path.name)
        if found:
            yield found[1], int(found[2]), path


def _config_text(sessions: list[Path]) -> str:
    """Return the text of the newest config that was written down."""
    for session in reversed(sessions):
        path = session / 'vis_data' / 'config.py'
        if path.is_file():
            return path.read_text(errors='replace')
    return ''
