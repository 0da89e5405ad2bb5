"""What a study compares: rows of settings, each trained with some seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from yaml import safe_load

from amt_mm.arguments import (
    Check,
    check_bool,
    check_choice,
    check_dict,
    check_int,
    check_str,
    optional,
)
from amt_mm.atomic_write import replacing
from amt_mm.datasets.image_folder import EXTENSIONS, walk_files

ROW_CHECKS: dict[str, Check] = dict(
    like=optional(check_str),
    options=check_dict,
    mask_generator=check_dict,
    saliency=check_dict,
    equal_compute=check_bool,
    seeds=optional(lambda name, value: check_seeds(name, value)))
PLAN_KEYS = ('config', 'baseline', 'epochs', 'seeds', 'options', 'data',
             'evaluation', 'rows')
DATA_KEYS = ('root', 'train', 'test', 'max_train', 'test_boxes')


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        name (str): What the table calls it.
        seeds (tuple[int]): One run each.
        options (dict): Overrides of the config, as of ``--cfg-options``.
        mask_generator (dict): Overrides of its ``AMTMaskGenerator``.
        saliency (dict): Overrides of its ``SaliencyUpdateHook``.
        equal_compute (bool): Whether it trains for as many epochs as need
            the multiply-accumulates of the baseline, not for its epochs.
    """

    name: str
    seeds: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    mask_generator: dict[str, Any] = field(default_factory=dict)
    saliency: dict[str, Any] = field(default_factory=dict)
    equal_compute: bool = False


@dataclass(frozen=True)
class Study:
    """A plan, as :func:`read_study` returns it.

    Attributes:
        config (Path): Of pre-training; rows change it.
        work_dir (Path): Where runs and results go.
        baseline (str): The row that the others are held against.
        epochs (int): Of every row of equal epochs.
        options (dict): Overrides of the config for all rows.
        data (dict): ``root``, its folders ``train`` and ``test`` with one
            folder a class; ``max_train``, the training images to draw (all,
            unless given); ``test_boxes``, lines as :class:`BoxSaliency` has.
        evaluation (dict): See :class:`projects.study.evaluate.Evaluation`.
        rows (dict[str, Row]): By name, in order.
    """

    config: Path
    work_dir: Path
    baseline: str
    epochs: int
    options: dict[str, Any]
    data: dict[str, Any]
    evaluation: dict[str, Any]
    rows: dict[str, Row]

    @cached_property
    def base(self) -> Config:
        """The config of pre-training, to be copied."""
        return Config.fromfile(self.config)

    def folder(self, name: str) -> Path:
        """Return a folder or file of the data."""
        return Path(self.data['root'], self.data[name])

    def check_data(self) -> None:
        """Raise FileNotFoundError if a part of the data is absent."""
        for key in ('train', 'test', 'test_boxes'):
            if key in self.data and not self.folder(key).exists():
                raise FileNotFoundError(
                    f'data.root must hold data.{key}, got no '
                    f'{self.folder(key)}. tools/make_study_data.py writes the '
                    'data of the plans that come with the project.')

    @property
    def drawn(self) -> Path:
        """The list of the training images that :meth:`draw` makes."""
        return self.work_dir / f'train_{self.data["max_train"]}.txt'

    def draw(self) -> None:
        """Draw the training images, once and for all."""
        path = self.drawn
        if not path.exists():
            names = sorted(
                name for name in walk_files(str(self.folder('train')))
                if name.lower().endswith(EXTENSIONS))
            most = check_int('data.max_train', self.data['max_train'], 1,
                             len(names))
            drawn = np.random.default_rng(0).permutation(len(names))[:most]
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                lines = [f'{names[i]}\n' for i in sorted(drawn)]
                file.write(''.join(lines).encode())


def read_study(path: Path, work_dir: Path,
               data_root: str | None = None) -> Study:
    """Read the YAML file of a plan.

    ``{root}`` in it stands for the root of the data, which ``data_root``
    replaces. With ``base``, another plan beside it, the keys that are given
    replace those of that plan, and ``rows`` may be a list of its rows.

    Raises:
        ValueError: If a key is unknown or missing, or a value does not do;
            the message names the file, the key and the value.
    """
    plan = _load(path)
    root = data_root or (plan['data'] or {}).get('root', '')
    plan = _fill(plan, root)
    data = dict(plan['data'], root=root)
    _check_keys(f'{path}: data', data, DATA_KEYS,
                ('max_train', 'test_boxes'))
    seeds = check_seeds('seeds', plan['seeds'])
    rows: dict[str, Row] = {}
    for name, entry in plan['rows'].items():
        rows[name] = _row(name, entry or {}, rows, seeds)
    rows = {name: rows[name] for name in plan.get('chosen', rows)}
    check_choice('baseline', plan['baseline'], list(rows))
    return Study(
        config=plan['config'],
        work_dir=work_dir,
        baseline=plan['baseline'],
        epochs=check_int('epochs', plan['epochs'], 1),
        options=plan.get('options') or {},
        data=data,
        evaluation=plan.get('evaluation') or {},
        rows=rows)


def _load(path: Path) -> dict[str, Any]:
    """Read a file and what it is based on."""
    plan = safe_load(path.read_text())
    keys = (*PLAN_KEYS, 'base')
    based = isinstance(plan, dict) and 'base' in plan
    _check_keys(f'{path}', plan, keys,
                keys if based else ('options', 'evaluation', 'base'))
    if 'config' in plan:
        plan['config'] = path.parent / plan['config']
    if not based:
        return plan
    base = _load(path.parent / plan.pop('base'))
    if isinstance(chosen := plan.get('rows'), list):
        for name in chosen:
            check_choice(f'{path}: rows', name, list(base['rows']))
        plan.update(rows=base['rows'], chosen=chosen)
    elif chosen is not None:  # its own rows, all of them
        base.pop('chosen', None)
    return {**base, **plan}


def _fill(node: Any, root: str) -> Any:
    """Put the root of the data where its name stands."""
    if isinstance(node, dict):
        return {key: _fill(value, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, root) for value in node]
    return node.replace('{root}', root) if isinstance(node, str) else node


def _row(name: str, entry: dict[str, Any], rows: Mapping[str, Row],
         seeds: tuple[int, ...]) -> Row:
    _check_keys(f'rows.{name}', entry, tuple(ROW_CHECKS), tuple(ROW_CHECKS))
    for key in entry.keys() & ROW_CHECKS.keys():
        ROW_CHECKS[key](f'rows.{name}.{key}', entry[key])
    like = entry.get('like')
    if like is not None:
        check_choice(f'rows.{name}.like', like, list(rows))
    base = rows[like] if like else Row(name, seeds)
    merged = {
        key: {**getattr(base, key), **entry.get(key, {})}
        for key in ('options', 'mask_generator', 'saliency')
    }
    return Row(name, tuple(entry.get('seeds') or seeds),
               equal_compute=entry.get('equal_compute', base.equal_compute),
               **merged)


def _check_keys(where: str, entry: Any, known: tuple[str, ...],
                optional_keys: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f'{where} must be a mapping, got {entry!r}.')
    unknown = sorted(set(entry) - set(known), key=str)
    missing = sorted(set(known) - set(entry) - set(optional_keys))
    if unknown or missing:
        raise ValueError(f'{where} must have keys of {list(known)}, got '
                         f'unknown {unknown} and missing {missing}.')


def check_seeds(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or \
            len({*value}) < len(value):
        raise ValueError(f'{name} must be a list of different numbers, got '
                         f'{value!r}.')
    return tuple(check_int(name, seed, 0) for seed in value)
