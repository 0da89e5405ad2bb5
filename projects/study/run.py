"""One run of a study: a row with a seed.

Its config is that of the plan with what the row changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config

from amt_mm.engine.cost import (
    CostEstimate,
    estimate_cost,
    find_generator,
)
from amt_mm.engine.fit_config import fit_machine, move_data_root

from .plan import Row, Study

# what of a config a result depends on; not how it is logged and saved
SETTINGS = ('model', 'data_preprocessor', 'train_dataloader', 'optim_wrapper',
            'param_scheduler', 'train_cfg', 'custom_hooks', 'auto_scale_lr',
            'randomness')
# of these, what is the machine's and changes no result
MACHINE = ('num_workers', 'persistent_workers', 'prefetch_factor',
           'pin_memory')
MEASUREMENTS = 4  # of the saliency, over the training


def runs_of(study: Study, only: Collection[str] = ()) -> Iterator[Run]:
    """Yield all runs: every row with its first seed, then the second...

    ``only`` names the rows to keep; none names all.
    """
    rows = [row for name, row in study.rows.items()
            if not only or name in only]
    for number in range(max(len(row.seeds) for row in rows)):
        for row in rows:
            if number < len(row.seeds):
                yield Run(study, row, row.seeds[number])


@dataclass(frozen=True)
class Run:
    """A row with a seed."""

    study: Study
    row: Row
    seed: int

    @cached_property
    def cfg(self) -> Config:
        """The config of pre-training, ready for a runner."""
        cfg = self._config(self.study.epochs)
        if self.row.equal_compute:
            cfg = self._config(self._equal_epochs(estimate_cost(cfg)))
        return cfg

    @property
    def baseline(self) -> Run:
        """What the run is held against."""
        row = self.study.rows[self.study.baseline]
        return Run(self.study, replace(row, equal_compute=False), self.seed)

    @property
    def settings(self) -> str:
        """Short hash of all that the result depends on."""
        cfg = {key: deepcopy(self.cfg.get(key)) for key in SETTINGS}
        if self.cfg.get('load_from'):  # the others keep the hash they had
            cfg['load_from'] = self.cfg.load_from
        for key in MACHINE:
            cfg['train_dataloader'].pop(key, None)
        # how batches travel changes no result either
        cfg['train_dataloader']['collate_fn'] = dict(type='default_collate')
        (cfg['data_preprocessor'] or {}).pop('non_blocking', None)
        text = json.dumps([cfg, self.study.evaluation], sort_keys=True,
                          default=str)
        for path in (self.study.data['root'], str(self.study.work_dir)):
            text = text.replace(path, '')  # another machine has others
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def work_dir(self) -> Path:
        """Folder of the run; other settings have another."""
        return self.study.work_dir / (
            f'{self.row.name}_seed{self.seed}_{self.settings}')

    def _config(self, epochs: int) -> Config:
        study, row = self.study, self.row
        cfg = deepcopy(study.base)
        old_root = cfg.get('data_root')
        cfg.merge_from_dict({**study.options, **row.options})
        cfg.data_root = str(study.folder('train'))
        move_data_root(cfg, old_root)
        if 'max_train' in study.data:
            cfg.train_dataloader.dataset.ann_file = str(study.drawn)
        cfg.train_cfg.max_epochs = epochs
        cfg.experiment_name = f'{row.name}_seed{self.seed}_{id(cfg)}'
        cfg.randomness = dict(seed=self.seed)
        cfg.resume = None  # if it has begun, else from load_from
        _override(cfg, 'AMTMaskGenerator', row.mask_generator)
        _override(cfg, 'SaliencyUpdateHook', row.saliency)
        _drop_idle_hook(cfg)
        if 'test_boxes' in study.data:
            cfg.custom_hooks = [*cfg.custom_hooks, dict(
                type='amt_mm.LocalizationHook',
                images=str(study.folder('test')),
                boxes=str(study.folder('test_boxes')),
                interval=max(1, epochs // MEASUREMENTS))]
        fit_machine(cfg)
        return cfg

    def _equal_epochs(self, plan: CostEstimate) -> int:
        """Return the epochs that cost what the baseline's cost."""
        budget = estimate_cost(self.baseline.cfg).total_macs
        return max(1, round(self.study.epochs * budget / plan.total_macs))


def _override(cfg: Config, kind: str, changes: Mapping[str, Any]) -> None:
    """Change the arguments of a transform or hook, wherever it stands."""
    nodes = [*cfg.train_dataloader.dataset.pipeline, *cfg.custom_hooks]
    for node in nodes:
        if node.type.endswith(kind):
            node.update(changes)


def _drop_idle_hook(cfg: Config) -> None:
    """Take out the update of maps that neither plan nor loss asks for."""
    if not find_generator(cfg).needs_saliency:
        cfg.custom_hooks = [
            hook for hook in cfg.custom_hooks
            if not hook.type.endswith(('SaliencyUpdateHook',
                                       'MaskStatisticsHook'))
        ]
