"""Updates, stops and resumes in real runners.

That workers see every update is in test_schedules_in_runs.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import TASK_UTILS
from tiny_run import (
    NUM_IMAGES,
    lines_of,
    log_of,
    loss_trace,
    recorded,
    store_of,
)

from amt_mm.datasets.training_set import unwrap
from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.engine.whole_images import whole_images
from amt_mm.masking.orderings import RandomOrdering


@TASK_UTILS.register_module(force=True)
class SightlessOrdering(RandomOrdering):
    """Have maps made and not look at them."""

    needs_saliency = True


def test_maps_are_those_of_the_whole_images(tiny_cfg, run):
    runner = run(tiny_cfg(**{'train_cfg.max_epochs': 2}))
    # epoch 1 changed the weights since: make the map of an image anew with
    # those of the checkpoint before it
    checkpoint = torch.load(f'{runner.work_dir}/epoch_1.pth',
                            weights_only=False)
    model = unwrap_model(runner)
    model.load_state_dict(checkpoint['state_dict'])
    model.eval()
    plain = whole_images(unwrap(runner.train_dataloader.dataset))
    for index in (0, NUM_IMAGES - 1):
        image = plain[index]['inputs'][None]
        data = model.data_preprocessor(dict(inputs=image, data_samples=None))
        expected = model.saliency(data['inputs'])[0].detach().numpy()
        found = store_of(runner).read(index)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.max() == 1 and found.min() == 0


def test_updates_leave_training_numbers_alone(tiny_cfg, run):
    """What an update draws and computes must not shift the training."""
    traces = []
    for name, begin in (('with', 1), ('without', 9)):
        cfg = tiny_cfg(name, **{
            'train_cfg.max_epochs': 2,
            # draws from torch's generator in every iteration
            'model.backbone.drop_path_rate': 0.5})
        # the same plans with and without maps
        cfg.train_dataloader.dataset.pipeline[4].update(
            mask_ratio=0.75, throw_ratio=0,
            ordering=dict(type='SightlessOrdering'))
        cfg.custom_hooks[1].begin = begin
        runner = run(cfg)
        assert (store_of(runner).generation is None) == (begin == 9)
        traces.append(loss_trace(runner))
    assert len(traces[0]) == 12
    np.testing.assert_array_equal(*traces)


def test_resume_has_the_trace_of_an_uninterrupted_run(
        tiny_cfg, run, finished):
    """From before the first update; from after it, in test_disks.py."""
    finished(1, 'stopped')
    resumed = run(tiny_cfg('stopped', resume=True))
    np.testing.assert_array_equal(
        loss_trace(resumed), finished(name='full')[1])


def test_resume_uses_the_map_in_use(tiny_cfg, run, finished):
    """A checkpoint from before the last update gets the older maps back."""
    work_dir, full = finished()
    runner = run(tiny_cfg(resume=True, **{
        'load_from': f'{work_dir}/epoch_2.pth', 'train_cfg.max_epochs': 3}))
    assert store_of(runner).generation == 1
    np.testing.assert_array_equal(loss_trace(runner), full[:18])
    # a fresh start forgets them
    cfg = tiny_cfg(**{'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(dict(type='RecordPlans'))
    runner = run(cfg)
    assert recorded(runner) == [(0, 12, 0, 4)]
    assert store_of(runner).generations == []


@pytest.mark.parametrize('damaged', ['epoch_0001.npy', 'manifest.json'])
def test_lost_maps_are_made_anew_with_a_warning(tiny_cfg, run, finished,
                                                damaged):
    """Each kind of damage is in test_store.py, and under way, test_disks.py.
    """
    path = finished(2)[0] / 'saliency' / damaged
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    runner = run(tiny_cfg(resume=True, **{'train_cfg.max_epochs': 3}))
    assert 'are lost' in log_of(runner)
    assert store_of(runner).generation == 1
    store_of(runner).verify(1)


def test_what_a_run_leaves(finished):
    """Checkpoints name their maps, and statistics are logged."""
    work_dir, _ = finished()
    named = [
        torch.load(work_dir / f'epoch_{n}.pth',
                   weights_only=False)['saliency_generation']
        for n in range(1, 6)
    ]
    assert named == [None, 1, 1, 3, 3]
    train = lines_of(next(work_dir.glob('*/vis_data/scalars.json')), 'loss')
    first = [line for line in train if line['epoch'] == 1]
    later = [line for line in train if line['epoch'] > 1]
    assert all('p_masked_salient' not in line for line in first)
    for line in later:
        shares = [line[f'p_{role}_salient']
                  for role in ('masked', 'thrown', 'visible')]
        assert sum(shares) == pytest.approx(1)
    mean = np.mean([line['p_masked_salient'] for line in later])
    assert mean > 7 / 16  # more than random masking would


WARM_UP, AMT = (12, 0, 4), (7, 6, 3)


@pytest.mark.parametrize(('first', 'stop', 'second', 'plans', 'generation'), [
    # maps are due before epoch 1, then before 3: the second warms up again
    (2, 2, 6, [WARM_UP, AMT, AMT, AMT], 3),
    # before 5, then before 3: overdue, and made at once
    (10, 4, 6, [AMT, AMT], 4),
    # before 2, then before 3: those in use are too old
    (4, 4, 6, [AMT, AMT], 4)])
def test_a_share_of_the_run_follows_its_new_length(
        tiny_cfg, run, first, stop, second, plans, generation):
    def make(epochs, *hooks):
        cfg = tiny_cfg('run', resume=True, **{
            'train_cfg.max_epochs': epochs,
            'train_dataloader.dataset.indices': 8})
        cfg.custom_hooks[1].update(interval=.5, begin=.5)
        cfg.custom_hooks += [dict(type='RecordPlans'), *hooks]
        return cfg

    run(make(first, dict(type='StopAfter', epoch=stop)))
    resumed = run(make(second))
    assert recorded(resumed) == [
        (epoch, *plan) for epoch, plan in enumerate(plans, stop)]
    assert store_of(resumed).generation == generation


def test_joined_data_sets_are_as_one_folder(tiny_cfg, run, images):
    """Maps of the same weights, and an epoch with pictures, on both."""
    folders = [str(images / name) for name in ('brick_heart', 'grid_cross')]
    stores = {}
    for name in ('one', 'joined'):
        cfg = tiny_cfg(name, **{
            'custom_hooks.1.begin': 0, 'train_cfg.max_epochs': 1,
            'train_dataloader.dataset.data_root': folders,
            'train_dataloader.batch_size': 2,
            'default_hooks.visualization': dict(
                type='amt_mm.AMTVisualizationHook', interval=1)})
        if name == 'joined':
            part = cfg.train_dataloader.dataset
            cfg.train_dataloader.dataset = dict(
                type='ConcatDataset',
                datasets=[dict(part, data_root=root) for root in folders])
        stores[name] = store_of(run(cfg))
    one, joined = stores.values()
    assert one.num_images == joined.num_images > 4
    for index in range(one.num_images):
        np.testing.assert_array_equal(one.read(index), joined.read(index))
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(one.read(0), one.read(1))
