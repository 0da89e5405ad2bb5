"""The plans that come with the project."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from amt_mm.engine.cost import find_generator
from amt_mm.engine.hooks import SaliencyUpdateHook
from projects.study import read_study, runs_of


@pytest.mark.parametrize('name', [
    'tiny-imagenet40_cpu', 'tiny-imagenet40_gpu', 'tiny-imagenet40_simmim',
    'cifar10_cpu', 'tiny-imagenet40_maps', 'cifar10_maps',
    'tiny-imagenet40_cross', 'cifar10_continue', 'cifar10_continue_20e'])
def test_every_row_can_be_built(pytestconfig, tmp_path, name):
    init_default_scope('mmpretrain')
    root = tmp_path / 'data'
    (root / 'train' / 'a').mkdir(parents=True)
    path = pytestconfig.rootpath / 'configs' / 'study' / f'{name}.yaml'
    study = read_study(path, tmp_path / 'work', str(root))
    # one run of each row, as those of other seeds are built alike
    runs = {run.row.name: run for run in reversed([*runs_of(study)])
            if not run.row.equal_compute}
    for run in runs.values():
        cfg = run.cfg
        assert cfg.train_dataloader.dataset.data_root == f'{root}/train'
        generator = find_generator(cfg)
        assert generator.tokens == (8, 8)
        with torch.device('meta'):
            MODELS.build(cfg.model)
        hooks = [dict(hook) for hook in cfg.custom_hooks
                 if hook.type.endswith('SaliencyUpdateHook')]
        assert bool(hooks) == generator.needs_saliency
        for hook in hooks:
            hook.pop('type')
            assert SaliencyUpdateHook(**hook).schedule(study.epochs)
    # no two rows are one
    assert len({run.settings for run in runs.values()}) == len(runs)
