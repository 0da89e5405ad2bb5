"""Every config trains through warm-up, update and AMT iterations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from processes import train_together
from small_configs import ARCH, CONFIGS, read_config
from tiny_run import loss_trace, pictures_of, recorded, store_of
from torch._dynamo.utils import counters

from amt_mm.datasets.training_set import unwrap
from amt_mm.visualization import training_panels

SIMMIM, MASKFEAT = 'simmim_amt_vit-b_200e_in1k', 'maskfeat_amt_vit-b_300e_in1k'
MAE = 'mae_amt_vit-b_400e_in1k'
# of 64 tokens of 8 px; SimMIM's cells are 4 tokens, 16 to an image
RUNS = {
    SIMMIM: ((40, 0, 24), (32, 20, 12)),
    'simmim_amt-33-50_vit-b_200e_in1k': ((40, 0, 24), (24, 32, 8)),
    'simmim_am_vit-b_200e_in1k': ((40, 0, 24), (40, 0, 24)),
    MASKFEAT: ((25, 0, 39), (17, 20, 27)),
    MAE: ((48, 0, 16), (28, 26, 10)),
    'mae_am_vit-b_400e_in1k': ((48, 0, 16), (48, 0, 16)),
    'mae_amt-75-10_vit-b_200e_in1k': ((48, 0, 16), (48, 6, 10)),
    'mae_amt-throw-low_vit-b_200e_in1k': ((48, 0, 16), (28, 26, 10)),
    # half of the masked is predicted
    'mae_amt-cross_vit-b_400e_in1k': ((24, 0, 16), (14, 26, 10)),
    # without saliency there is no warm-up
    'simmim_random_vit-b_200e_in1k': ((40, 0, 24), ) * 2,
    'mae_random_vit-b_400e_in1k': ((48, 0, 16), ) * 2,
    'mae_random-throw_vit-b_200e_in1k': ((28, 26, 10), ) * 2,
}


def shrink(name):
    """Read a config of pre-training, of the size of a test."""
    cfg = read_config(name)
    model, pipeline = cfg.model, cfg.train_dataloader.dataset.pipeline
    pipeline[2].scale = 64
    pipeline[4].update(input_size=64, patch_size=8)
    model.backbone.update(arch=ARCH, img_size=64, patch_size=8)
    if name.startswith('mae'):
        model.neck.update(
            num_patches=64, patch_size=8, embed_dim=32, decoder_embed_dim=32,
            decoder_depth=1, decoder_num_heads=4)
        model.head.patch_size = 8
    else:
        model.neck.in_channels = 32
    if name.startswith('simmim'):
        pipeline[4].cell_size = 16
        model.neck.encoder_stride = model.head.patch_size = 8
    elif name.startswith('maskfeat'):
        model.neck.out_channels = 27
        model.target_generator.patch_size = 8
    return cfg


@pytest.fixture
def tiny_method(tiny_cfg):
    """Return a function that makes a run of a config that is shrunk."""

    def make(name, **options):
        base, cfg = tiny_cfg(), shrink(name)
        pipeline = cfg.train_dataloader.dataset.pipeline
        pictures = cfg.default_hooks.visualization
        for key in ('train_dataloader', 'default_hooks', 'work_dir',
                    'param_scheduler', 'log_level'):
            cfg[key] = base[key]
        cfg.train_dataloader.dataset.update(pipeline=pipeline, indices=12)
        cfg.default_hooks.visualization = pictures
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)
        cfg.train_cfg.max_epochs = 2
        for hook in cfg.custom_hooks:
            if hook.type == 'amt_mm.SaliencyUpdateHook':
                hook.update(interval=1, begin=1)
        cfg.custom_hooks.append(dict(type='RecordPlans'))
        cfg.merge_from_dict(options)
        return cfg

    return make


def test_every_config_is_run():
    """Shrunk, each of the others is as one of those that are.

    The hooks of those for one's own images are in test_train.py.
    """
    def parts(name):
        cfg = shrink(name)
        return cfg.model, cfg.train_dataloader.dataset.pipeline

    run = [parts(name) for name in RUNS]
    for path in CONFIGS.glob('*.py'):
        # of other channels, and of a small model: tested elsewhere
        if path.stem not in ('mae_amt_vit-s_bands',
                             'mae_pixel-amt_vit-mini_demo'):
            assert parts(path.stem) in run, path


@pytest.mark.parametrize('name', RUNS)
def test_warmup_update_and_amt(tiny_method, run, name):
    runner = run(tiny_method(name))
    warmup, amt = RUNS[name]
    assert recorded(runner) == [(0, *warmup), (1, *amt)]
    if '_random' not in name:
        assert store_of(runner).generation == 1
    losses = np.array(loss_trace(runner))
    assert len(losses) == 6 and np.isfinite(losses).all()
    dataset = unwrap(runner.train_dataloader.dataset)
    panel = training_panels(runner.model, dataset, [0])[0]
    assert (panel.reconstruction is None) == ('maskfeat' in name)
    assert len(pictures_of(runner)) == 2  # before the first epoch, at the end


@pytest.mark.parametrize('name, backbone', [
    (SIMMIM, 'AMTSimMIMViT'), (SIMMIM, 'AMTBEiTPretrainViT'),
    (MASKFEAT, 'AMTMaskFeatViT')])
def test_probe_of_every_method(tiny_method, run, images, name, backbone):
    probe = dict(
        type='amt_mm.ProbeHook', dataset=str(images), k=2, num_workers=0)
    runner = run(tiny_method(name, **{
        'model.backbone.type': f'amt_mm.{backbone}', 'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.indices': 4, 'default_hooks.probe': probe}))
    for name in ('knn', 'linear', 'knn_mean', 'linear_mean'):
        found, _ = runner.message_hub.log_scalars[f'probe/{name}_top1'].data
        assert len(found) == 2  # before and after the epoch
        assert all(0 <= top1 <= 100 for top1 in found)


STRATEGIES = {
    'block': dict(ordering=dict(type='amt_mm.BlockOrdering', min_patches=4)),
    'grid': dict(ordering=dict(type='amt_mm.GridOrdering')),
    'high': dict(ordering=dict(type='amt_mm.AttMaskHighOrdering')),
    'low': dict(ordering=dict(type='amt_mm.AttMaskLowOrdering')),
    'hint': dict(ordering=dict(type='amt_mm.AttMaskHighOrdering'),
                 layout=dict(type='amt_mm.ShowHints', top_ratio=0.2)),
    'throw_random': dict(layout=dict(type='amt_mm.ThrowRandom')),
}


@pytest.mark.parametrize('name, strategy', [
    *((MAE, strategy) for strategy in STRATEGIES),
    (SIMMIM, 'hint'), (MASKFEAT, 'hint')])
def test_strategies(tiny_method, run, name, strategy):
    """All with MAE; the others read the same plans, and take one."""
    cfg = tiny_method(name)
    cfg.default_hooks.pop('visualization')
    cfg.train_dataloader.dataset.pipeline[4].update(STRATEGIES[strategy])
    warmup, amt = RUNS[name]
    if strategy in ('block', 'grid'):  # these need no maps
        del cfg.custom_hooks[1]
        warmup = amt
    runner = run(cfg)
    assert recorded(runner) == [(0, *warmup), (1, *amt)]
    assert np.isfinite(loss_trace(runner)).all()


def _save_losses(rank, runner):
    torch.save(dict(losses=loss_trace(runner).tolist(),
                    graphs=counters['stats']['unique_graphs']),
               f'{runner.work_dir}/found.pth')


@pytest.mark.compiles
@pytest.mark.parametrize('name', [SIMMIM, MASKFEAT])
def test_a_compiled_loss_is_the_loss(tiny_method, run, name):
    """One graph for the counts of the warm-up, one for those after it."""
    options = {'resume': False, 'randomness': dict(seed=0),
               'train_dataloader.dataset.indices': 20}
    plain = loss_trace(run(tiny_method(name, **options))).tolist()
    cfg = tiny_method(name, **options)
    cfg.model.compile_loss = dict(backend='aot_eager')
    # torch cannot fork once it has compiled
    assert train_together([cfg], inspect=_save_losses,
                          start_method='forkserver') == [None]
    compiled = torch.load(Path(cfg.work_dir, 'found.pth'))
    assert compiled['losses'] == pytest.approx(plain, rel=1e-5)
    assert compiled['graphs'] == 2
