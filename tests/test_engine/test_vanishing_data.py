"""Files that go while a run goes on, and data sets that change between two."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tiny_run import (
    NUM_IMAGES,
    WORKERS,
    CallBetweenEpochs,
    log_of,
    loss_trace,
    store_of,
)

from amt_mm.datasets.training_set import unwrap
from amt_mm.saliency.store import SaliencyStoreError


@pytest.fixture
def data(images, tmp_path):
    """Return a copy of the images that a test may spoil."""
    return shutil.copytree(images, tmp_path / 'data')


@pytest.fixture
def cfg_of(tiny_cfg, data, monkeypatch):
    """Return a function that makes a config on the copy."""

    def make(calls=None, **options):
        monkeypatch.setattr(CallBetweenEpochs, 'after', calls or {})
        cfg = tiny_cfg(**{
            'train_dataloader.dataset.data_root': str(data), **options})
        cfg.custom_hooks.append(dict(type='CallBetweenEpochs'))
        return cfg

    return make


def files(data):
    """Return the images in the order of the data set."""
    return sorted(data.rglob('*.jpg'), key=lambda p: str(p.relative_to(data)))


def test_files_that_vanish_between_epochs(cfg_of, run, data):
    """One of them for good, the other for an update."""
    gone, back = files(data)[3], files(data)[17]
    away = data.parent / 'away'

    def vanish(runner):
        gone.unlink()
        back.rename(away)

    runner = run(cfg_of(
        {0: vanish, 2: lambda runner: away.rename(back)}, **WORKERS))
    assert np.isfinite(loss_trace(runner)).all()
    dataset, store = unwrap(runner.train_dataloader.dataset), store_of(runner)
    assert dataset.unreadable.nonzero().flatten().tolist() == [3, 17]
    assert store.generations == [1, 3]
    for generation, uniform in ((1, {3, 17}), (3, {3})):
        store.activate(generation)
        assert {index for index in range(NUM_IMAGES)
                if not store.read(index).any()} == uniform
    log = log_of(runner)
    assert log.count('skipped 2 of 22 images that cannot be read') == 1
    assert str(gone) in log and str(back) in log


def test_more_than_the_share_vanish(cfg_of, run, data):
    def vanish(runner):
        for path in files(data)[:12]:
            path.unlink()

    cfg = cfg_of({0: vanish})
    with pytest.raises(RuntimeError, match=(
            r'12 of 22 maps are constant or not finite, more than '
            r'max_uniform_share 0.5\. 12 of the images cannot be read')):
        run(cfg)


@pytest.mark.parametrize('workers, epoch', [({}, 0), (WORKERS, 1)])
def test_all_files_vanish(cfg_of, run, data, workers, epoch):
    """Before an update, and before an epoch without one."""
    cfg = cfg_of({epoch: lambda runner: shutil.rmtree(data)}, **workers)
    with pytest.raises(Exception, match=(
            r'no readable image found in .*data after 100 tries; the last: '
            r'cannot read the image .*: FileNotFoundError')):
        run(cfg)


# ---- two starts


def change(data, how):
    """Add, take away or rename an image."""
    path = files(data)[4]
    if how == 'grow':
        shutil.copy(path, data / 'new.jpg')
    elif how == 'shrink':
        path.unlink()
    else:
        path.rename(data / 'renamed.jpg')


@pytest.mark.parametrize('how, count, done', [
    ('grow', 23, 1), ('shrink', 21, 2), ('rename', 22, 2)])
def test_a_changed_data_set_is_refused(cfg_of, run, finished, data, how,
                                       count, done):
    """Before the first update, which comes with the second epoch, or after."""
    manifest = finished(done)[0] / 'saliency' / 'manifest.json'
    before = manifest.read_bytes()
    change(data, how)
    with pytest.raises(SaliencyStoreError) as caught:
        run(cfg_of(resume=True))
    text = str(caught.value)
    assert 'belongs to another data set' in text
    assert '(22, ' in text and f'training has ({count}, ' in text
    assert 'Use another work_dir, or the data set that the run began' in text
    # nothing was lost: with the old data the run goes on
    assert manifest.read_bytes() == before
    if done == 2:  # the checkpoint knows the data set, too
        manifest.unlink()
        with pytest.raises(SaliencyStoreError, match=(
                f'belongs to another data set.* has {count}')):
            run(cfg_of(resume=True))


def test_the_same_names_with_other_pictures_are_not_told(
        cfg_of, run, finished, data):
    """The fingerprint is of names: this is what the documents say.

    Nor is it told that the folder moved, from that of ``finished``.
    """
    maps = finished(2)[0] / 'saliency' / 'epoch_0001.npy'
    before = maps.read_bytes()
    first, last = files(data)[0], files(data)[-1]
    first.rename(data / 'away')
    last.rename(first)
    (data / 'away').rename(last)
    runner = run(cfg_of(resume=True, **{'train_cfg.max_epochs': 3}))
    assert runner.epoch == 3
    assert store_of(runner).generation == 1
    assert maps.read_bytes() == before  # of the pictures as they were
