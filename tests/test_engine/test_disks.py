"""Disks that fill up or fail, and files that are damaged, in real runs."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_run import (
    WORKERS,
    CallBetweenEpochs,
    log_of,
    loss_trace,
    store_of,
)

from amt_mm.engine.hooks.atomic_checkpoint_hook import (
    CheckpointLostError,
    find_checkpoint,
    find_damage,
)
from amt_mm.engine.launch import graceful_shutdown
from amt_mm.saliency import SaliencyMapsLostError, SaliencyStoreError


@pytest.fixture
def sabotaged(tiny_cfg, monkeypatch):
    """Return a function that makes a config whose epochs call a function.

    Without workers: a limit would hold for the memory they share, too.
    """

    def make(action, before=None, after=None):
        for name, epoch in (('before', before), ('after', after)):
            monkeypatch.setattr(CallBetweenEpochs, name, {epoch: action})
        cfg = tiny_cfg('run')
        cfg.custom_hooks.append(dict(type='CallBetweenEpochs'))
        return cfg

    return make


@pytest.fixture
def limit_files():
    """Return a function that lets no file grow over a size, or again any."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=soft):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit()


def assert_same_trace(runner, finished):
    """Compare with a run that was never stopped."""
    np.testing.assert_array_equal(
        loss_trace(runner), finished(name='full')[1])


@pytest.mark.parametrize('size, when, error, message', [
    (500, dict(before=3), SaliencyStoreError,
     'epoch_0003.npy: .*File too large.*of generation 1, are whole'),
    (100_000, dict(after=2), OSError,
     'epoch_3.pth: File too large.*before it are whole')],
    ids=['maps', 'checkpoint'])
def test_no_room(sabotaged, run, finished, limit_files, size, when, error,
                 message):
    """For maps that take the place of others, or a third checkpoint."""
    cfg = sabotaged(lambda runner: limit_files(size), **when)
    with pytest.raises(error, match=message):
        run(cfg)
    work_dir = Path(cfg.work_dir)
    assert not list(work_dir.rglob('*.part'))
    if error is OSError:
        assert sorted(path.name for path in work_dir.glob('*_*.pth*')) == [
            'epoch_1.pth', 'epoch_2.pth']
    limit_files()
    cfg.custom_hooks.pop()
    cfg.resume = True
    resumed = run(cfg)
    assert_same_trace(resumed, finished)
    assert not list(work_dir.rglob('*.part'))
    for path in work_dir.glob('epoch_*.pth'):
        assert find_damage(path) is None
    for generation in store_of(resumed).generations:
        store_of(resumed).verify(generation)


@pytest.mark.parametrize('name, reason', [
    ('file', 'File exists'), ('file/below', 'Not a directory'),
    ('/proc/run', 'No such file or directory')])
def test_a_work_dir_that_cannot_be_written(tmp_path, name, reason):
    (tmp_path / 'file').touch()
    work_dir = tmp_path / name
    with pytest.raises(SystemExit, match=(
            'work_dir must be a folder that can be written, got '
            f'{work_dir}: {reason}.')), graceful_shutdown(str(work_dir)):
        pass


# ---- maps that are damaged under a running job


def flip_half(path):
    """Change each map of the second half in place, as a failing disk does."""
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content), 16):
        content[at] ^= 1
    with open(path, 'r+b') as file:
        file.write(content)


@pytest.mark.parametrize('damage, message, workers', [
    (flip_half, r'epoch_0001.npy: the map of image \d+ is damaged', WORKERS),
    (lambda path: shutil.rmtree(path.parent),
     'no saliency store at .*manifest.json is missing', {})])
def test_maps_damaged_under_a_running_job(
        sabotaged, tiny_cfg, run, damage, message, workers):
    cfg = sabotaged(lambda runner: damage(store_of(runner).path(1)), after=1)
    cfg.merge_from_dict(workers)
    with pytest.raises(SaliencyMapsLostError, match=message):
        run(cfg)
    resumed = run(tiny_cfg(resume=True))
    assert 'are lost' in log_of(resumed)
    assert resumed.epoch == 5 and store_of(resumed).generation == 3


def test_maps_deleted_under_a_running_job_stay_readable(
        sabotaged, run, finished):
    """Workers that live on hold the file; then the next update comes."""
    cfg = sabotaged(lambda runner: store_of(runner).path(1).unlink(), after=1)
    cfg.merge_from_dict(WORKERS)
    assert_same_trace(run(cfg), finished)


# ---- checkpoints that are damaged before a resume


def flip_one(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_half(path):
    os.truncate(path, path.stat().st_size // 2)


def test_the_newest_checkpoint_that_is_whole_is_found(finished):
    folder, _ = finished(3)
    newest, pointer = folder / 'epoch_3.pth', folder / 'last_checkpoint'
    content = newest.read_bytes()
    for damage in (flip_one, cut_half, Path.unlink,
                   lambda path: path.write_bytes(b'')):
        damage(newest)
        path, (problem, ) = find_checkpoint(folder)
        assert path == folder / 'epoch_2.pth'
        assert problem.startswith(f'{newest} ')
        newest.write_bytes(content)
    for text in (str(newest), '', '/elsewhere/epoch_3.pth'):
        pointer.write_text(text)
        assert find_checkpoint(folder) == (newest, [])
    pointer.unlink()
    assert find_checkpoint(folder) == (newest, [])


def test_a_run_goes_on_from_the_newest_that_is_whole(tiny_cfg, run, finished):
    flip_one(finished(3)[0] / 'epoch_3.pth')
    resumed = run(tiny_cfg(resume=True, log_level='INFO'))
    log = log_of(resumed)
    assert 'passed over: ' in log and 'resuming from' in log
    assert 'resumed epoch: 2' in log
    assert_same_trace(resumed, finished)


def test_nothing_that_can_be_resumed_is_said(tiny_cfg, run, finished):
    work_dir, _ = finished(2)
    for epoch in (1, 2):
        cut_half(work_dir / f'epoch_{epoch}.pth')
    with pytest.raises(CheckpointLostError, match='epoch_2.pth .*epoch_1.pth '
                       '.*To start afresh, give another work_dir'):
        run(tiny_cfg(resume=True))


def test_the_maps_of_the_last_checkpoint_are_kept(tiny_cfg, run):
    """Even if updates come more often than checkpoints."""
    cfg = tiny_cfg(**{'default_hooks.checkpoint.interval': 3})
    cfg.custom_hooks[1].update(interval=1, keep=1)
    run(cfg)
    # epoch 3 used generation 2; it is the last but one, and 3 is not needed
    cfg.update(resume=True, load_from=f'{cfg.work_dir}/epoch_3.pth')
    assert 'are lost' not in log_of(run(cfg))
