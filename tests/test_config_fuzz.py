"""No change of a config hangs, crashes or trains what it does not say.

    AMT_MM_FUZZ=20000 AMT_MM_FUZZ_SEED=7 python -m pytest -s \\
        tests/test_config_fuzz.py

tries more changes, and others. ``tests/fuzz_trial.py`` does without pytest.
"""
from __future__ import annotations

import copy
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fuzz_configs import configs, write_files
from fuzz_trial import Outcome, deviations, train, trial
from watched_process import CRASH, HANG, watched

COUNT = int(os.environ.get('AMT_MM_FUZZ', 500))
FIRST = int(os.environ.get('AMT_MM_FUZZ_SEED', 0))
LIMIT = 60.  # seconds of one change; a run takes half of one
BASES = list(configs(Path()))


@pytest.mark.timeout(600 + 3 * COUNT)
def test_a_changed_config_runs_or_says_what_is_wrong(
        tmp_path: Path, show: Callable[[str], None]) -> None:
    jobs = [*BASES, *range(FIRST, FIRST + COUNT)]
    found = watched(partial(trial, tmp_path), jobs, LIMIT)
    results = [o.result if isinstance(o, Outcome) else o for o in found]
    assert results[:len(BASES)] == ['run'] * len(BASES), found[:len(BASES)]
    counts = Counter(results[len(BASES):])
    show(f'{COUNT} changes of a config: ' + ', '.join(
        f'{number} {result}' for result, number in counts.most_common()))
    wrong = [f'{job}: {outcome}' for job, outcome, result in zip(
        jobs, found, results, strict=True) if result in ('wrong', HANG, CRASH)]
    assert not wrong, '\n'.join(wrong)
    # all kinds of outcomes, or the changes are not what they should be
    assert counts['run'] > COUNT / 20
    assert counts['ValueError'] > COUNT / 5
    assert counts['TypeError'] > COUNT / 5


def test_a_run_that_its_config_does_not_say_is_noticed(tmp_path):
    write_files(tmp_path)
    cfg = configs(tmp_path)['mae']
    runner = train(cfg, tmp_path / 'run')
    assert not deviations(cfg, runner)
    data, mask = ('train_dataloader', 'dataset'), ('pipeline', 4)
    for path, value in {
            ('model', 'neck', 'decoder_depth'): 3,
            ('model', 'neck', 'decoder_num_heads'): 4,
            ('model', 'backbone', 'arch', 'num_layers'): 3,
            ('model', 'backbone', 'arch', 'num_heads'): 4,
            ('model', 'backbone', 'drop_path_rate'): 0.2,
            ('model', 'backbone', 'patch_size'): 16,
            (*data, 'indices'): 3,
            (*data, 'pipeline', 2, 'scale'): 64,
            (*data, *mask, 'input_size'): 64,
            (*data, *mask, 'mask_ratio'): 0.4,
            (*data, *mask, 'throw_ratio'): 0.4,
            (*data, *mask, 'warmup_mask_ratio'): 0.5,
            (*data, *mask, 'rounding'): 'ceil',
            ('custom_hooks', 3, 'begin'): 0,
            ('custom_hooks', 3, 'interval'): 0.9}.items():
        said: Any = copy.deepcopy(cfg)
        node = said
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        if path[-1] == 'interval':
            node['begin'] = None
        assert deviations(said, runner), path


def test_a_hang_and_a_crash_do_not_stop_the_others():
    assert watched(time.sleep, [0, 600, 0], 5.) == [None, HANG, None]
    assert watched(os._exit, [1], 5.) == [CRASH]
