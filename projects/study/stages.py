"""Run a study: train and measure what has no result yet."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint

from amt_mm.engine.cost import estimate_cost
from amt_mm.engine.sources.model_saliency import precision_of
from projects.benchmark.comparison import compare_steps
from projects.benchmark.item import Setting
from projects.benchmark.lines import machine, versions
from projects.benchmark.step import StepOptions
from projects.benchmark.workload import workloads

from .evaluate import Evaluation
from .plan import Study
from .results import Results
from .run import Run, runs_of

Stage = Callable[[Run], dict[str, Any]]
SALIENCY = 'localization/'
STAGES = 'pretrain', 'frozen', 'unseen', 'step', 'localization', 'finetune'
ROUNDS = 20  # of steps that are timed


def run_study(study: Study, results: Results,
              after: Callable[[], None] = lambda: None,
              only: Collection[str] = (),
              stages: Collection[str] = ()) -> None:
    """Do what is left of a study, the first seed of all rows first.

    A run that was killed goes on from its last checkpoint; what has a line
    with the same settings is not done again. ``after`` is called after each
    result. ``only`` names the rows to do and ``stages`` the stages; none
    names all. Processes that do the same study share it run by run.
    """
    if 'max_train' in study.data:
        study.draw()
    runs = list(runs_of(study, only))
    for number, run in enumerate(runs, 1):
        run.work_dir.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(run.work_dir / 'lock', timeout=0):
                print_log(f'study: run {number} of {len(runs)}',
                          logger='current')
                _do(run, results, after, stages)
        except Timeout:
            print_log(f'study: run {number} of {len(runs)} is being done by '
                      'another process', logger='current')


def _do(run: Run, results: Results, after: Callable[[], None],
        stages: Collection[str]) -> None:
    for name, stage in _stages(run).items():
        if stages and name not in stages:
            continue
        key = dict(row=run.row.name, seed=run.seed, stage=name,
                   settings=run.settings)
        if results.find(**key):
            continue
        print_log(f'study: {run.row.name}, seed {run.seed}: {name}',
                  logger='current')
        start = time.perf_counter()
        found = stage(run)
        results.add(**key, **found, machine=machine(), versions=versions(),
                    seconds=round(time.perf_counter() - start, 1))
        after()
        gc.collect()  # one model in memory


def _stages(run: Run) -> dict[str, Stage]:
    study = run.study
    stages: dict[str, Stage] = dict(pretrain=pretrain, frozen=frozen)
    if 'max_train' in study.data:
        stages['unseen'] = unseen
    if run.row.name != study.baseline and run.seed == run.row.seeds[0]:
        stages['step'] = step
    if 'test_boxes' in study.data:
        stages['localization'] = localization
    if study.evaluation.get('finetune'):
        stages['finetune'] = finetune
    return stages


def pretrain(run: Run) -> dict[str, Any]:
    """Pre-train, and return what it cost."""
    cfg = run.cfg.copy()
    cfg.work_dir = str(run.work_dir)
    plan = estimate_cost(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    dtype = precision_of(runner)['dtype'] or torch.float32
    return dict(
        precision=str(dtype).removeprefix('torch.'),
        epochs=cfg.train_cfg.max_epochs,
        images=len(runner.train_dataloader.dataset),
        loss=round(float(scalars['train/loss'].mean(100)), 5),
        # of one image over all epochs, the maps' included
        macs=plan.total_macs,
        batch_size=cfg.train_dataloader.batch_size)


def step(run: Run) -> dict[str, Any]:
    """Time a step with the row's plans over one of the baseline's."""
    torch.manual_seed(run.seed)
    sides = {row: workloads(cfg)[1] for row, cfg in (
        ('baseline', run.baseline.cfg), ('row', run.cfg))}
    ratio, = compare_steps(sides, Setting(rounds=ROUNDS), StepOptions(
        run.cfg.train_dataloader.batch_size, torch.cuda.is_available()))
    return dict(step=ratio.value)


def frozen(run: Run) -> dict[str, Any]:
    """Classify by the frozen encoder."""
    return _evaluation(run).frozen()


def unseen(run: Run) -> dict[str, Any]:
    """Classify labelled images that were not pre-trained on."""
    return _evaluation(run).unseen()


def localization(run: Run) -> dict[str, Any]:
    """Return how well saliency found the boxes at the end, in percent.

    ``over_training`` has the pointing accuracy after so many epochs.
    """
    measured = {}
    for path in run.work_dir.glob('*/vis_data/*.json'):
        for text in path.read_text().splitlines():
            if SALIENCY in text and text.endswith('}'):  # not cut by a kill
                line = json.loads(text)
                measured[line['epoch']] = {
                    name.removeprefix(SALIENCY): round(100 * value, 3)
                    for name, value in line.items()
                    if name.startswith(SALIENCY)}
    curve = {str(epoch): measured[epoch]['pointing']
             for epoch in sorted(measured)}
    return dict(measured[max(measured)], over_training=curve)


def finetune(run: Run) -> dict[str, Any]:
    """Fine-tune the encoder."""
    return _evaluation(run).finetune(run.work_dir / 'finetune')


def _evaluation(run: Run) -> Evaluation:
    checkpoint = find_latest_checkpoint(str(run.work_dir))
    if checkpoint is None:
        raise FileNotFoundError(
            f'{run.work_dir} must hold the checkpoint of the pre-training '
            'that results.jsonl has a line of: put it back, or take the line '
            'out.')
    torch.manual_seed(run.seed)
    return Evaluation(run.cfg, Path(checkpoint), run.study.data,
                      **run.study.evaluation)
