"""Sheets of panels during a run, which is the same with and without."""

from __future__ import annotations

import random
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import VISBACKENDS
from mmengine.visualization.vis_backend import BaseVisBackend
from processes import train_together
from tiny_run import loss_trace, pictures_of

from amt_mm.engine.hooks import AMTVisualizationHook
from amt_mm.engine.hooks.visualization_hook import random_numbers_kept

HOOK = dict(type='amt_mm.AMTVisualizationHook', interval=2, num_images=3)


@VISBACKENDS.register_module(force=True)
class Collect(BaseVisBackend):
    """Keep what another kind of backend would send somewhere."""

    pictures: list = []

    def _init_env(self):
        """Nothing to open."""

    @property
    def experiment(self):
        return self

    def add_image(self, name, image, step=0, **kwargs):
        self.pictures.append((name, step, image))


def test_the_run_is_the_one_without_pictures(tiny_cfg, run, finished):
    work_dir, losses = finished(name='plain')
    cfg = tiny_cfg('seen')
    cfg.default_hooks.visualization = HOOK
    runner = run(cfg)
    np.testing.assert_array_equal(loss_trace(runner), losses)
    weights = torch.load(work_dir / 'epoch_5.pth', weights_only=False)
    for name, weight in weights['state_dict'].items():
        assert torch.equal(weight, runner.model.state_dict()[name])
    maps = Path('saliency', 'epoch_0003.npy')
    assert (work_dir / maps).read_bytes() == Path(
        cfg.work_dir, maps).read_bytes()
    assert [path.name for path in pictures_of(runner)] == [
        f'panels_{epoch}.png' for epoch in (0, 2, 4, 5)]


def test_the_same_images_in_every_sheet_and_after_a_resume(tiny_cfg, run):
    sheets = []
    for epochs in (2, 4):
        cfg = tiny_cfg('run', resume=True, **{
            'train_cfg.max_epochs': epochs, 'experiment_name': f'to_{epochs}'})
        cfg.default_hooks.visualization = HOOK
        sheets += [mmcv.imread(path, channel_order='rgb')
                   for path in pictures_of(run(cfg))]
    assert len(sheets) == 3
    column = 256 + 12  # the images stand in the first column, 3 rows
    for sheet in sheets:
        assert sheet.shape == sheets[0].shape
        np.testing.assert_array_equal(
            sheet[:, :column - 12], sheets[0][:, :column - 12])
    # reconstructions differ, as the weights do
    assert (sheets[0][:, 3 * column:] != sheets[-1][:, 3 * column:]).any()


def test_every_backend_gets_them(tiny_cfg, run):
    """Fewer images than asked for, of a folder of four."""
    Collect.pictures.clear()
    cfg = tiny_cfg(**{'train_cfg.max_epochs': 1,
                      'train_dataloader.dataset.indices': 4})
    cfg.default_hooks.visualization = dict(
        HOOK, name='seen', num_images=9, at_start=False)
    cfg.visualizer.vis_backends = [
        dict(type='LocalVisBackend'), dict(type='Collect')]
    path, = pictures_of(run(cfg))
    (name, step, image), = Collect.pictures
    assert (name, step) == ('seen', 1) and path.name == 'seen_1.png'
    assert len(image) > 4 * 256
    np.testing.assert_array_equal(
        image, mmcv.imread(path, channel_order='rgb'))


def _drawn(rank, runner):
    drawn = [f'{name}_{step}' for name, step, _ in Collect.pictures]
    Path(runner.work_dir, f'drawn_{rank}').write_text(' '.join(drawn))


@pytest.mark.parametrize('options', [
    {}, dict(runner_type='FlexibleRunner',
             strategy=dict(type='amt_mm.AMTFSDPStrategy'))])
def test_several_processes_draw_once(tiny_cfg, monkeypatch, options):
    cfg = tiny_cfg('together', **options, **{
        'train_cfg.max_epochs': 2})
    cfg.default_hooks.visualization = HOOK
    cfg.visualizer.vis_backends = [dict(type='Collect')]
    monkeypatch.setattr(Collect, 'pictures', [])
    assert train_together([cfg] * 2, inspect=_drawn) == [None] * 2
    assert Path(cfg.work_dir, 'drawn_0').read_text() == 'panels_0 panels_2'
    assert Path(cfg.work_dir, 'drawn_1').read_text() == ''


@pytest.mark.parametrize(('options', 'message'), [
    (dict(interval=0), 'interval must be .*0'),
    (dict(num_images=0), 'num_images must be .*0'),
    (dict(name=3), 'name must be .*3')])
def test_arguments(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        AMTVisualizationHook(**options)


def test_random_numbers_are_kept_where_drawing_fails():
    draws = []
    for is_drawn in (False, True):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if is_drawn:
            with pytest.raises(OSError, match='disk'), random_numbers_kept():
                random.random(), np.random.random(), torch.rand(1)
                raise OSError('disk full')
        draws.append((random.random(), np.random.random(),
                      torch.rand(1).item()))
    assert draws[0] == draws[1]
