"""Disks that fill up or fail, and files that are damaged, in real runs."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_run import log_of, loss_trace, store_of

from amt_mm.engine.hooks.atomic_checkpoint_hook import (
    CheckpointLostError,
    find_damage,
)
from amt_mm.saliency import SaliencyMapsLostError, SaliencyStoreError


@HOOKS.register_module(force=True)
class Sabotage(Hook):
    """Call a function before an epoch or before its checkpoint."""

    priority = 'VERY_HIGH'
    action = staticmethod(lambda runner: None)

    def __init__(self, before_epoch=None, after_epoch=None):
        self.before_epoch, self.after_epoch = before_epoch, after_epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.before_epoch:
            Sabotage.action(runner)

    def after_train_epoch(self, runner):
        if runner.epoch == self.after_epoch:
            Sabotage.action(runner)


@contextlib.contextmanager
def sabotage(action):
    """Set what ``Sabotage`` does, and undo a limit on files' sizes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    Sabotage.action = staticmethod(action)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def limit_files(size):
    """Return an action after which no file grows over a size."""
    def action(runner):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    return action


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


def fill(disk, leave):
    """Return an action that fills a disk but for some bytes."""
    def action(runner):
        free = shutil.disk_usage(disk).free
        (disk / 'ballast').write_bytes(b'x' * (free - leave))
    return action


def assert_same_trace(runner, finished):
    """Compare with a run that was never stopped."""
    np.testing.assert_array_equal(
        np.array(loss_trace(runner)), finished(name='full')[1])


def assert_goes_on(cfg, finished, run):
    """Resume, and compare with a run that was never stopped."""
    cfg.custom_hooks.pop()
    cfg.merge_from_dict(dict(resume=True, experiment_name='resumed'))
    resumed = run(cfg)
    assert_same_trace(resumed, finished)
    assert not list(Path(cfg.work_dir).rglob('*.part'))
    for path in Path(cfg.work_dir).glob('epoch_*.pth'):
        assert find_damage(path) is None
    for generation in store_of(resumed).generations:
        store_of(resumed).verify(generation)
    return resumed


def sabotaged(tiny_cfg, **when):
    # without workers: a limit would hold for the memory they share, too
    cfg = tiny_cfg('run')
    cfg.custom_hooks.append(dict(type='Sabotage', **when))
    return cfg


# ---- no room


@pytest.mark.parametrize('is_disk', [False, True], ids=['limit', 'disk'])
def test_no_room_for_maps(tiny_cfg, run, finished, request, is_disk):
    """Before epoch 3, where generation 3 takes the place of 1."""
    cfg = sabotaged(tiny_cfg, before_epoch=3)
    action, reason = limit_files(500), 'File too large'
    if is_disk:
        disk = request.getfixturevalue('small_disk')
        cfg.work_dir = str(disk / 'run')
        action, reason = fill(disk, 0), 'No space left'
    with sabotage(action), pytest.raises(
            SaliencyStoreError,
            match=rf'epoch_0003.npy: .*{reason}.*of generation 1, are whole'):
        run(cfg)
    if is_disk:
        (disk / 'ballast').unlink()
    assert not list(Path(cfg.work_dir).rglob('*.part'))
    assert_goes_on(cfg, finished, run)


@pytest.mark.parametrize('is_disk', [False, True], ids=['limit', 'disk'])
def test_no_room_for_a_checkpoint(tiny_cfg, run, finished, request, is_disk):
    cfg = sabotaged(tiny_cfg, after_epoch=2)
    action, reason = limit_files(100_000), 'File too large'
    if is_disk:
        disk = request.getfixturevalue('small_disk')
        cfg.work_dir = str(disk / 'run')
        action, reason = fill(disk, 100_000), 'No space left'
    with sabotage(action), pytest.raises(
            OSError, match=rf'epoch_3.pth: {reason}.*before it are whole'):
        run(cfg)
    if is_disk:
        (disk / 'ballast').unlink()
    assert sorted(p.name for p in Path(cfg.work_dir).glob('*_*.pth*')) == [
        'epoch_1.pth', 'epoch_2.pth']
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


def change(path, damage):
    """Damage a file in place, as a failing disk or another program does."""
    if damage == 'truncate':
        os.truncate(path, path.stat().st_size // 2)
    elif damage == 'flip':
        content = bytearray(path.read_bytes())
        # each map of the second half
        for at in range(len(content) // 2, len(content), 16):
            content[at] ^= 1
        with open(path, 'r+b') as file:
            file.write(content)
    elif damage == 'delete':
        path.unlink()
    else:
        shutil.rmtree(path.parent)


@pytest.mark.parametrize('damage, message, num_workers', [
    ('truncate', r'epoch_0001.npy: the map of image \d+ is damaged', 0),
    ('flip', r'epoch_0001.npy: the map of image \d+ is damaged', 2),
    ('folder', 'no saliency store at .*manifest.json is missing', 2),
])
def test_maps_damaged_under_a_running_job(tiny_cfg, run, damage, message,
                                          num_workers):
    cfg = sabotaged(tiny_cfg, after_epoch=1)
    cfg.train_dataloader.update(
        num_workers=num_workers, persistent_workers=bool(num_workers))
    with sabotage(lambda runner: change(store_of(runner).path(1), damage)):
        with pytest.raises(SaliencyMapsLostError, match=message):
            run(cfg)
    cfg.custom_hooks.pop()
    cfg.merge_from_dict(dict(resume=True, experiment_name='resumed'))
    resumed = run(cfg)
    assert 'are lost' in log_of(resumed)
    assert resumed.epoch == 5 and store_of(resumed).generation == 3
    assert find_damage(Path(cfg.work_dir, 'epoch_2.pth')) is None


def test_maps_deleted_under_a_running_job_stay_readable(
        tiny_cfg, run, finished):
    """Workers that live on hold the file; then the next update comes."""
    cfg = sabotaged(tiny_cfg, after_epoch=1)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    with sabotage(lambda runner: change(store_of(runner).path(1), 'delete')):
        runner = run(cfg)
    assert_same_trace(runner, finished)


# ---- checkpoints that are damaged before a resume


def spoil(path, damage):
    if damage == 'truncate':
        os.truncate(path, path.stat().st_size // 2)
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'flip':
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()


@pytest.mark.parametrize('damage', ['truncate', 'empty', 'flip', 'delete'])
def test_a_damaged_checkpoint_is_passed_over(tiny_cfg, run, finished, damage):
    spoil(finished(3)[0] / 'epoch_3.pth', damage)
    cfg = tiny_cfg('run', resume=True, experiment_name='resumed',
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
    resumed = run(tiny_cfg('run', resume=True, experiment_name='resumed',
                           log_level='INFO'))
    assert 'resumed epoch: 3' in log_of(resumed)


def test_nothing_that_can_be_resumed_is_said(tiny_cfg, run, finished):
    work_dir, _ = finished(2)
    for epoch in (1, 2):
        spoil(work_dir / f'epoch_{epoch}.pth', 'truncate')
    cfg = tiny_cfg('run', resume=True, experiment_name='resumed')
    with pytest.raises(CheckpointLostError, match='epoch_2.pth .*epoch_1.pth '
                       '.*To start afresh, give another work_dir'):
        run(cfg)


def test_the_maps_of_the_last_checkpoint_are_kept(tiny_cfg, run):
    """Even if updates come more often than checkpoints."""
    cfg = tiny_cfg('run', **{'default_hooks.checkpoint.interval': 3})
    cfg.custom_hooks[1].update(interval=1, keep=1)
    run(cfg)
    # epoch 3 used generation 2; it is the last but one, and 3 is not needed
    cfg = tiny_cfg('run', resume=True, experiment_name='resumed',
                   load_from=f'{cfg.work_dir}/epoch_3.pth')
    cfg.custom_hooks[1].update(interval=1, keep=1)
    resumed = run(cfg)
    assert 'are lost' not in log_of(resumed)
