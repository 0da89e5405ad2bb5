"""Disks that fill up or fail, and files that are damaged, in real runs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from tiny_run import CallBetweenEpochs, log_of, loss_trace, store_of

from amt_mm.engine.hooks.atomic_checkpoint_hook import (
    CheckpointLostError,
    find_damage,
)
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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('a small disk can be mounted by root only')
    yield disk
    subprocess.run(['umount', '-l', str(disk)], check=True)


def assert_same_trace(runner, finished):
    """Compare with a run that was never stopped."""
    np.testing.assert_array_equal(
        np.array(loss_trace(runner)), finished(name='full')[1])


def assert_goes_on(cfg, finished, run):
    """Resume, and compare with a run that was never stopped."""
    cfg.custom_hooks.pop()
    cfg.merge_from_dict(dict(resume=True, experiment_name=uuid4().hex))
    resumed = run(cfg)
    assert_same_trace(resumed, finished)
    assert not list(Path(cfg.work_dir).rglob('*.part'))
    for path in Path(cfg.work_dir).glob('epoch_*.pth'):
        assert find_damage(path) is None
    for generation in store_of(resumed).generations:
        store_of(resumed).verify(generation)
    return resumed


# ---- no room


# epoch 3, where generation 3 takes the place of 1, or the third checkpoint
MAPS = (dict(before=3), SaliencyStoreError,
        'epoch_0003.npy: .*{}.*of generation 1, are whole')
CHECKPOINT = (dict(after=2), OSError, 'epoch_3.pth: {}.*before it are whole')


def assert_stops_whole(cfg, error, message, run):
    with pytest.raises(error, match=message):
        run(cfg)
    assert not list(Path(cfg.work_dir).rglob('*.part'))
    if error is OSError:
        assert sorted(path.name for path in Path(cfg.work_dir).glob(
            '*_*.pth*')) == ['epoch_1.pth', 'epoch_2.pth']


@pytest.mark.parametrize('size, when, error, message', [
    (500, *MAPS), (100_000, *CHECKPOINT)], ids=['maps', 'checkpoint'])
def test_a_limit_of_files(sabotaged, run, finished, limit_files, size, when,
                          error, message):
    cfg = sabotaged(lambda runner: limit_files(size), **when)
    assert_stops_whole(cfg, error, message.format('File too large'), run)
    limit_files()
    assert_goes_on(cfg, finished, run)


@pytest.mark.parametrize('left, when, error, message', [
    (0, *MAPS), (100_000, *CHECKPOINT)], ids=['maps', 'checkpoint'])
def test_a_full_disk(sabotaged, run, finished, small_disk, left, when, error,
                     message):
    def fill(runner):
        free = shutil.disk_usage(small_disk).free
        (small_disk / 'ballast').write_bytes(b'x' * (free - left))

    cfg = sabotaged(fill, **when)
    cfg.work_dir = str(small_disk / 'run')
    assert_stops_whole(cfg, error, message.format('No space left'), run)
    (small_disk / 'ballast').unlink()
    assert_goes_on(cfg, finished, run)


def test_a_folder_that_cannot_be_written(small_disk, tool, images):
    config = 'configs/mae_amt_vit-t_30e_demo.py'
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    for work_dir in (small_disk, small_disk / 'run'):
        result = tool('train', config, '--work-dir', work_dir,
                      '--cfg-options', f'data_root={images}')
        assert result.returncode == 1
        assert result.stderr.strip().endswith(
            f'work_dir must be a folder that can be written, got {work_dir}: '
            'Read-only file system.')


def test_a_file_where_the_folder_should_be(tmp_path, tool, images):
    work_dir = tmp_path / 'file'
    work_dir.write_text('')
    result = tool('train', 'configs/mae_amt_vit-t_30e_demo.py', '--work-dir',
                  work_dir, '--cfg-options', f'data_root={images}')
    assert f'got {work_dir}: File exists.' in result.stderr
    assert 'Traceback' not in result.stderr


# ---- maps that are damaged under a running job


def flip_half(path):
    """Change each map of the second half in place, as a failing disk does."""
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content), 16):
        content[at] ^= 1
    with open(path, 'r+b') as file:
        file.write(content)


def cut_half(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize('damage, message, num_workers', [
    (cut_half, r'epoch_0001.npy: the map of image \d+ is damaged', 0),
    (flip_half, r'epoch_0001.npy: the map of image \d+ is damaged', 2),
    (lambda path: shutil.rmtree(path.parent),
     'no saliency store at .*manifest.json is missing', 2)])
def test_maps_damaged_under_a_running_job(sabotaged, run, damage, message,
                                          num_workers):
    cfg = sabotaged(lambda runner: damage(store_of(runner).path(1)), after=1)
    cfg.train_dataloader.update(
        num_workers=num_workers, persistent_workers=bool(num_workers))
    with pytest.raises(SaliencyMapsLostError, match=message):
        run(cfg)
    cfg.custom_hooks.pop()
    cfg.merge_from_dict(dict(resume=True, experiment_name=uuid4().hex))
    resumed = run(cfg)
    assert 'are lost' in log_of(resumed)
    assert resumed.epoch == 5 and store_of(resumed).generation == 3
    assert find_damage(Path(cfg.work_dir, 'epoch_2.pth')) is None


def test_maps_deleted_under_a_running_job_stay_readable(
        sabotaged, run, finished):
    """Workers that live on hold the file; then the next update comes."""
    cfg = sabotaged(lambda runner: store_of(runner).path(1).unlink(), after=1)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    assert_same_trace(run(cfg), finished)


# ---- checkpoints that are damaged before a resume


def flip_one(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b'')


def test_damage_is_found(finished):
    path = finished(1)[0] / 'epoch_1.pth'
    whole = path.read_bytes()
    assert find_damage(path) is None
    for damage in (cut_half, empty, flip_one):
        path.write_bytes(whole)
        damage(path)
        assert find_damage(path), damage


@pytest.mark.parametrize('damage', [flip_one, Path.unlink])
def test_a_damaged_checkpoint_is_passed_over(tiny_cfg, run, finished, damage):
    damage(finished(3)[0] / 'epoch_3.pth')
    cfg = tiny_cfg('run', resume=True, experiment_name=uuid4().hex,
                   log_level='INFO')
    resumed = run(cfg)
    log = log_of(resumed)
    assert 'passed over: ' in log and 'resuming from' in log
    assert 'resumed epoch: 2' in log
    assert_same_trace(resumed, finished)


@pytest.mark.parametrize('content', [None, b'', b'/elsewhere/epoch_3.pth'])
def test_last_checkpoint_may_be_lost_or_moved(tiny_cfg, run, finished,
                                              content):
    pointer = finished(3)[0] / 'last_checkpoint'
    pointer.unlink() if content is None else pointer.write_bytes(content)
    resumed = run(tiny_cfg('run', resume=True, experiment_name=uuid4().hex,
                           log_level='INFO'))
    assert 'resumed epoch: 3' in log_of(resumed)


def test_nothing_that_can_be_resumed_is_said(tiny_cfg, run, finished):
    work_dir, _ = finished(2)
    for epoch in (1, 2):
        cut_half(work_dir / f'epoch_{epoch}.pth')
    cfg = tiny_cfg('run', resume=True, experiment_name=uuid4().hex)
    with pytest.raises(CheckpointLostError, match='epoch_2.pth .*epoch_1.pth '
                       '.*To start afresh, give another work_dir'):
        run(cfg)


def test_the_maps_of_the_last_checkpoint_are_kept(tiny_cfg, run):
    """Even if updates come more often than checkpoints."""
    cfg = tiny_cfg('run', **{'default_hooks.checkpoint.interval': 3})
    cfg.custom_hooks[1].update(interval=1, keep=1)
    run(cfg)
    # epoch 3 used generation 2; it is the last but one, and 3 is not needed
    cfg = tiny_cfg('run', resume=True, experiment_name=uuid4().hex,
                   load_from=f'{cfg.work_dir}/epoch_3.pth')
    cfg.custom_hooks[1].update(interval=1, keep=1)
    resumed = run(cfg)
    assert 'are lost' not in log_of(resumed)
