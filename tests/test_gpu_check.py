"""The check of a GPU, on the CPU at the size of toys."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest
from tool_process import SERVER, run_tool

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / 'projects' / 'gpu_check'
STUDY = """
setup: mkdir $GPU_CHECK_SCRATCH/study
jobs: 1
results: $GPU_CHECK_SCRATCH/study/results.jsonl
commands:
- echo '{"row":"a"}' >> $GPU_CHECK_SCRATCH/study/results.jsonl
- echo '{"row":"b"}' >> $GPU_CHECK_SCRATCH/study/results.jsonl
"""
PHASE_ALONE = """
import multiprocessing, os, time

def run(setting, recorder):
    recorder.check('raises', int, 'x')
    recorder.check('dies', os._exit, 9)
    recorder.check('breaks', breaks)
    recorder.check('after', dict)

def breaks():
    raise RuntimeError('CUDA error: an illegal memory access')

def hang(setting, recorder):
    recorder.check('before', dict)
    recorder.check('hangs', time.sleep, 100)

def start(setting, recorder):
    recorder.check('start', lambda: dict(
        started_by=multiprocessing.get_start_method()))
"""


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a module of the project."""
    monkeypatch.syspath_prepend(str(PROJECT))
    return importlib.import_module


def lines_of(out):
    return [json.loads(line)
            for line in (out / 'results.jsonl').read_text().splitlines()]


def test_dry_run_of_all_phases(tmp_path):
    study, out = tmp_path / 'study.yaml', tmp_path / 'out'
    study.write_text(STUDY)
    command = [str(PROJECT / 'gpu_check.py'), '--out', str(out), '--device',
               'cpu', '--toy', '--study', str(study), '--scratch',
               str(tmp_path / 'scratch')]
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    first = run_tool(command, env)
    assert first.returncode == 0, first.stderr
    lines = lines_of(out)
    assert [line for line in lines
            if 'error' in line or line.get('ok') is False] == []
    assert '0 checks failed' in first.stdout
    listed = run_tool([command[0], '--list'], env).stdout
    assert {line['phase'] for line in lines} == {
        row.split()[0] for row in listed.splitlines()}
    for line in lines:
        assert line['machine']['cores'] == os.cpu_count()
        assert line['versions']['torch'] and '--toy' in line['command']
    step = next(line for line in lines if line['check'] == 'mae_b_2' and
                line['phase'] == 'speed')['sides']
    # of a tiny encoder, whose decoder weighs more than a real one's
    assert step['amt_45_40']['arithmetic_ratio'] < step['ours_75_0'][
        'arithmetic_ratio'] < 1
    assert step['amt_45_40']['peak_ratio'] < 1
    found = {(line['phase'], line['check']): line for line in lines}
    # mmpretrain's step of MaskFeat does not run on a CPU
    maskfeat = found['speed', 'maskfeat_b_2']
    assert maskfeat['peer'] == 'ours_40_0' and 'stock_40_fails' in maskfeat
    # each runner beside its own kind, as they draw weights in other places
    peers = {check: line['peer'] for (phase, check), line in found.items()
             if phase == 'distributed'}
    assert peers == dict(ddp='Runner', fsdp='FlexibleRunner')
    for name in ('mae_b_2_graphs', 'mae_t_2_graphs'):
        assert found['compiled', name]['skipped'] == 'needs a GPU'
    assert (out / 'study.jsonl').read_text() == \
        '{"row":"a"}\n{"row":"b"}\n'
    # what is done is not done again
    again = run_tool([*command[:-4], *command[-2:], '--phases', 'numerics',
                      'speed'], env)
    assert again.returncode == 0 and lines_of(out) == lines


@pytest.fixture
def gpu_check(load, monkeypatch, tmp_path):
    """The script as a module, with phases that go wrong."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'phase_alone.py').write_text(PHASE_ALONE)
    module = load('gpu_check')
    module.preload()
    groups = dict(wrong=module.Phase('phase_alone', 'run', 60),
                  hanging=module.Phase('phase_alone', 'hang', 3))
    monkeypatch.setattr(module, 'GROUPS', (groups,))
    monkeypatch.setattr(module, 'PHASES', groups)
    return module


def test_a_phase_goes_on_after_what_fails(gpu_check, tmp_path):
    setting = gpu_check.Setting(
        device='cpu', toy=False, out=tmp_path, scratch=tmp_path, photos=None,
        study=None, started=time.time())
    gpu_check.run_groups(setting, ['wrong', 'hanging'], time.time() + 100)
    found = {line['check']: line for line in lines_of(tmp_path)}
    assert 'invalid literal' in found['raises']['error']
    assert 'Traceback' in found['raises']['traceback']
    assert 'status 9' in found['dies']['error']
    assert 'CUDA error' in found['breaks']['error']
    assert 'error' not in found['after'] and 'error' not in found['before']
    assert 'time limit' in found['hangs']['error']
    assert len(found) == len(lines_of(tmp_path)) == 6


def _work(out, turn):
    sys.path[:0] = [str(PROJECT), str(out)]
    module = importlib.import_module('gpu_check')
    module.preload = list
    module.PHASES['probe'] = module.Phase('phase_alone', 'start', 60)
    module.work('probe', out, turn)


def test_loaders_of_a_phase_fork(gpu_check, tmp_path):
    """Also in a process that was not forked, where this is no default."""
    turn, other = SERVER.Pipe()
    process = SERVER.Process(target=_work, args=(tmp_path, other))
    process.start()
    turn.recv()
    turn.send(gpu_check.Setting(
        device='cpu', toy=True, out=tmp_path, scratch=tmp_path, photos=None,
        study=None, started=time.time()))
    process.join(100)
    assert process.exitcode == 0
    assert [line['started_by'] for line in lines_of(tmp_path)] == ['fork']


def test_only_ours_is_judged_by_what_it_waits_for(load):
    judged = load('waits').judged
    peer = {'place': 1}
    assert judged(dict(stock_75=peer, ours_75_0={}, amt_45_40={}))['ok']
    line = judged(dict(stock_75={}, ours_75_0={}, amt_45_40={'here': 1}))
    assert not line['ok'] and line['judged'] == ['ours_75_0', 'amt_45_40']


def test_the_device_ratio_is_of_all_kernels(load):
    record = load('record')
    line = dict(batch_size=256, stock_75=dict(device_milliseconds=80.),
                amt_45_40=dict(device_milliseconds=48.))
    assert record.device_ratios(line) == dict(stock_75=1., amt_45_40=.6)
    assert record.device_ratios(dict(a=dict(device_milliseconds=0.))) == {}


def test_the_page_is_rendered_from_its_lines(load):
    render = load('render')
    page = render.PAGE.read_text()
    assert render.render(render.read(render.LINES)) == page
    assert len(page.splitlines()) <= 120
    assert '| amt_45_40 | 45.0 | 0.590 | 1643 | 34 |' in page


def test_published_lines_name_no_folder_of_a_machine(load):
    render = load('render')
    text = json.dumps(dict(
        places={'/tmp/site/mmengine/runner/loops.py:131 run_iter': 1},
        log='File "/opt/x/site-packages/torch/a.py"\n/home/me/amt_mm/b.py',
        kept='File "/usr/lib/python3.12/contextlib.py", 3/4',
        command='gpu_check.py --out /root/out --scratch /tmp/keep --toy'))
    assert json.loads(render.without_paths(text)) == dict(
        places={'mmengine/runner/loops.py:131 run_iter': 1},
        log='File "torch/a.py"\namt_mm/b.py',
        kept='File "/usr/lib/python3.12/contextlib.py", 3/4',
        command='gpu_check.py --out DIR --scratch DIR --toy')
    published = render.LINES.read_text()
    assert render.without_paths(published) == published


def test_wheels_are_of_the_tested_versions(load, tmp_path, real_data):
    prepare = load('prepare')
    pinned = prepare.pinned()
    assert 'onedl-mmpretrain==1.3.6' in pinned
    assert 'onedl-mmcv==2.3.6' in pinned and len(pinned) == 11
    prepare.pack(real_data, tmp_path)
    assert (tmp_path / 'tiny_imagenet40.tar.xz').stat().st_size > 2e7
    with tarfile.open(tmp_path / 'photos.tar') as tar:
        assert len(tar.getnames()) == prepare.NUM_PHOTOS
