"""The hooks that seed a run and that watch it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from mmpretrain.structures import DataSample
from tiny_run import NUM_IMAGES, WORKERS, log_of, loss_trace, store_of

from amt_mm.datasets.transforms import SeedSample
from amt_mm.engine.hooks.mask_statistics_hook import salient_shares


def sample(plan, weights=None):
    made = DataSample()
    made.set_field(np.array(plan, np.int8), 'mask_plan')
    if weights is not None:
        made.set_field(np.array(weights, np.float32), 'saliency')
    return made


def test_salient_shares_by_hand():
    # above the mean 0.25: two tokens of the first, one of the second
    first = sample([[1, -1], [0, 0]], [[.4, .4], [.1, .1]])
    second = sample([[0, 1], [1, -1]], [[1., 0], [0, 0]])
    unpredicted = sample([[2, -1], [0, 0]], [[.4, .4], [.1, .1]])
    for samples in ([first, second], [unpredicted, second]):
        assert salient_shares(samples) == pytest.approx(
            dict(masked=1 / 3, thrown=1 / 3, visible=1 / 3))


def test_no_shares_without_maps():
    assert salient_shares([sample([[1, 0]])]) == {}
    assert salient_shares([sample([[1, 0]], [[.5, .5]])]) == {}


def test_number_of_workers_changes_nothing(tiny_cfg, run):
    """Augmentation and plan belong to the sample, not to its worker."""
    traces = []
    for name, workers in (('none', {}), ('two', WORKERS)):
        cfg = tiny_cfg(name, **workers, **{'train_cfg.max_epochs': 3})
        traces.append(loss_trace(run(cfg)))
    np.testing.assert_array_equal(traces[0], traces[1])


def test_epochs_differ(tiny_cfg, run):
    cfg = tiny_cfg(**{'train_cfg.max_epochs': 2, 'optim_wrapper.optimizer.lr':
                      0.})
    cfg.custom_hooks[1].begin = 9
    trace = np.array(loss_trace(run(cfg)))
    assert len(np.unique(trace)) == len(trace)


def test_seed_sample_draws_by_seed_epoch_and_sample():
    transform = SeedSample()

    def draw(seed, epoch, index):
        transform.set(seed, epoch)
        transform(dict(sample_idx=index))
        return np.random.rand()

    draws = {draw(s, e, i) for s in (0, 1) for e in (0, 1) for i in (0, 1)}
    assert len(draws) == 8
    assert draw(1, 1, 1) == draw(1, 1, 1)


@pytest.mark.parametrize('context', ['fork', 'forkserver'])
def test_unreadable_files_are_reported_once(tiny_cfg, run, images, tmp_path,
                                            context):
    data = shutil.copytree(images, tmp_path / 'data')
    (data / 'bad.jpg').write_bytes(b'no image')
    cfg = tiny_cfg(**WORKERS, **{
        'train_dataloader.dataset.data_root': str(data),
        'train_dataloader.multiprocessing_context': context,
        'train_cfg.max_epochs': 3
    })
    runner = run(cfg)
    log = log_of(runner)
    assert log.count(f'skipped 1 of {NUM_IMAGES + 1} images') == 1
    assert str(data / 'bad.jpg') in log
    # the map of a file that cannot be read is left uniform, and only that
    store = store_of(runner)
    maps = np.load(store.path(store.generation))['map']
    assert (maps == 0).all((1, 2)).sum() == 1
