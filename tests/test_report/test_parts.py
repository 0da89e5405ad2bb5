"""Reading and counting, without a run."""

from __future__ import annotations

import json
from math import isnan, nan

import numpy as np
import pytest

from projects.report.charts import MAX_POINTS, curve, thin
from projects.report.configs import config_differences
from projects.report.cost import plan_of, times_of
from projects.report.figures import duration, figures
from projects.report.render_page import _names
from projects.report.run_folder import read_run
from projects.report.run_log import read_log
from projects.report.sections import Source, sections

LOG = """a line before the first
2026/01/01 00:00:00 - mmengine - INFO - begins
    GPU number: 4
    GPU 0,1: NVIDIA A100
    PyTorch: 2.11.0
2026/01/01 00:00:10 - mmengine - WARNING - skipped 1 of 3 images:
  a.jpg
2026/01/01 00:01:00 - mmengine - INFO - Epoch(train) [1][ 10/312]  loss: 1
2026/01/01 01:00:00 - mmengine - ERROR - over
"""


def write_session(root, name, *records):
    """Write the scalars of a session."""
    folder = root / name / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(
        '\n'.join(map(json.dumps, records)))


def train(step, **values):
    """Return a line of training with two steps an epoch."""
    return dict(values, epoch=(step + 1) // 2, iter=step, step=step)


def test_log(tmp_path):
    path = tmp_path / 'a.log'
    path.write_text(LOG)
    log = read_log(path)
    assert (log.seconds, log.batches_per_epoch, log.num_processes) == (
        3600, 312, 4)
    assert log.machine == 'GPU 0,1 NVIDIA A100, PyTorch 2.11.0'
    assert log.warnings == [
        ('2026/01/01 00:00:10', 'skipped 1 of 3 images:\n  a.jpg'),
        ('2026/01/01 01:00:00', 'over')]


def test_later_sessions_replace_what_they_repeat(tmp_path):
    probe = dict(epoch=2, step=2)
    write_session(tmp_path, '20260101_000000', *(
        train(step, loss=1.) for step in range(1, 7)),
        {'probe/knn_top1': 1., 'epoch': 1, 'step': 1},
        {'probe/knn_top1': 2., **probe}, {'probe/knn_top1': 3., 'epoch': 3})
    write_session(tmp_path, '20260101_000001')  # ended before a step
    write_session(tmp_path, '20260101_000002', train(3, loss=2.),
                  train(4, loss=nan), {'probe/knn_top1': 4., **probe})
    run = read_run(tmp_path)
    assert [r['step'] for r in run.steps] == [1, 2, 3, 4]
    assert [r['loss'] for r in run.steps[:3]] == [1, 1, 2]
    assert isnan(run.steps[3]['loss'])
    assert [r['probe/knn_top1'] for r in run.epochs] == [1, 4]
    assert run.batches_per_epoch == 2 and run.epoch == 2


def test_checkups_are_drawn(tmp_path):
    numbers = dict(loss=.8, heldout_loss=.9, rank_me=12.25, spread=.3, gain=0)
    write_session(tmp_path, '20260101_000000', train(1, loss=1.), *(
        {'epoch': epoch, 'step': epoch,
         **{f'checkup/{k}': -epoch if k == 'gain' else v + epoch
            for k, v in numbers.items()}}
        for epoch in (0, 1)))
    run = read_run(tmp_path)
    found = {section.title: section for section in sections(
        [Source(0, 'run', run, None)])}
    section = found['What has it learned, without labels?']
    drawn = [[[*map(float, curve.y)] for curve in chart.curves]
             for chart in section.charts]
    assert drawn == [[[.8, 1.8], [.9, 1.9]], [[12.25, 13.25]], [[.3, 1.3]]]
    assert not section.missing
    assert 'amt_mm.ProbeHook' in found['What has it learned?'].missing
    rows = {row.name: row.values
            for row in figures([run], [None])['Results']}
    assert (rows['Held-out loss'], rows['RankMe']) == (['1.9'], ['13.2'])
    verdict, = [row.values for row in figures([run], [None])['Run']
                if row.name == 'Verdict']
    assert verdict == ['sick, diverging: the loss is 1.8, 1 above its lowest '
                       'under equal plans']


@pytest.mark.parametrize('line', [
    '{"epoch": 1', '[1]', '"epoch"', '{"epoch": "1", "loss": 1}',
    '{"epoch": 1, "iter": 1, "step": "x", "loss": {"a": 1}}',
    '{"epoch": -1, "iter": 1, "step": 1}', '{"epoch": NaN}', '[' * 10_000])
def test_odd_lines_are_left_out(tmp_path, line):
    write_session(tmp_path, '20260101_000000', train(1, loss=1.))
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_text(f'{path.read_text()}\n{line}\n')
    run = read_run(tmp_path)
    assert run.steps == [train(1, loss=1.)] and run.epochs == []


def test_times(tmp_path):
    update = {'saliency/seconds': 3., 'epoch': 1, 'step': 1}
    write_session(tmp_path, '20260101_000000', *(
        train(step, time=2. if step <= 2 else 1.) for step in range(1, 9)),
        update)
    times = times_of(read_run(tmp_path))
    assert (times.warmup, times.training, times.updates) == (2, 1, [3])
    # 2 steps of 2 s, 6 of 1 s and the update, over 8 of 2 s
    assert times.ratio == pytest.approx(13 / 16)


def test_curves_are_thinned_to_means():
    points = np.stack([np.arange(5000.), np.arange(5000.) % 2], 1)
    few = thin(points)
    assert few.shape == (MAX_POINTS, 2)
    assert few[:, 1].mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(thin(points[:MAX_POINTS]), points[:MAX_POINTS])
    assert curve(0, 'a', [{'loss': 1.}], 'lr', lambda r: 0) == []


def test_differences_of_configs():
    one = dict(lr=1, hooks=[dict(type='A', interval=0.1)], work_dir='a')
    two = dict(lr=1, hooks=[dict(type='A', interval=40), {}], work_dir='b')
    assert config_differences([one, two]) == {
        'hooks.0.interval': ['0.1', '40'], 'hooks.1': ['', '{}']}


def test_a_config_names_no_code_to_import(tmp_path):
    """A class outside of the stack, or hidden in a scope, is not looked up."""
    proof = tmp_path / 'proof'
    folder = tmp_path / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text(
        f'__import__("pathlib").Path({str(proof)!r}).touch()\n'
        f'model = dict(type="pathlib.Path.touch", self={str(proof)!r})\n'
        'train_cfg = dict(max_epochs=3)\n')
    run = read_run(tmp_path)
    assert run.max_epochs == 3 and plan_of(run) is None
    assert not proof.exists()


def test_runs_are_named_apart(tmp_path):
    assert _names([tmp_path / 'a', tmp_path / 'b']) == ['a', 'b']
    assert _names([tmp_path / 'x' / 'a', tmp_path / 'y' / 'a']) == [
        'x/a', 'y/a']
    assert _names([tmp_path, tmp_path]) == [
        f'{tmp_path.name} (1)', f'{tmp_path.name} (2)']


@pytest.mark.parametrize('seconds, text', [
    (18.4, '18 s'), (65.4, '1 min 05 s'), (3600 * 30 + 60, '30 h 01 min')])
def test_duration(seconds, text):
    assert duration(seconds) == text
