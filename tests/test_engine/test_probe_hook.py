"""The probe of a run: what it reports, and that it changes nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image
from processes import train_together
from tiny_run import (
    WORKERS,
    hook_of,
    lines_of,
    log_of,
    loss_trace,
    scalars_of,
)

from amt_mm.engine.hooks import ProbeHook

NUM_OF_CLASS = 15
PROBE = 'default_hooks.probe.'
HUES = ((220, 30, 30), (30, 220, 30), (30, 30, 220))


@pytest.fixture(scope='session')
def classes(tmp_path_factory):
    """Return a folder of three classes, told apart by their colour."""
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    for label, hue in enumerate(HUES):
        (root / f'class{label}').mkdir()
        for i in range(NUM_OF_CLASS):
            noise = rng.integers(-30, 30, (8, 8, 3))
            pixels = np.clip(noise + hue, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((40 + i, 40)).save(
                root / f'class{label}' / f'{i}.jpg')
    return root


@pytest.fixture
def probed_cfg(tiny_cfg, classes):
    """Return a function that makes the config of a run with a probe."""

    def make(work_dir='run', **options):
        cfg = tiny_cfg(work_dir, **{
            'train_cfg.max_epochs': 2,
            'train_dataloader.batch_size': 8,
            f'{PROBE}type': 'amt_mm.ProbeHook',
            f'{PROBE}interval': 1,
            f'{PROBE}k': 5,
            **options
        })
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset = dict(
            type='CustomDataset', data_root=str(classes), pipeline=pipeline)
        cfg.custom_hooks.pop()  # the hook of unreadable images
        return cfg

    return make


@HOOKS.register_module(force=True)
class ChangeTokens(Hook):
    """Make the class token the same for all images, or average the others."""

    def __init__(self, average=False):
        self.average = average

    def before_run(self, runner):
        def change(backbone, args, tokens):
            first = tokens[-1]
            if backbone.training or first.ndim != 3:
                return None
            return first[:, 1:].mean(1) if self.average else torch.cat([
                torch.ones_like(first[:, :1]), first[:, 1:]], 1),
        runner.model.backbone.register_forward_hook(change)


def probes_of(runner):
    """Return epoch and results of each probe in the JSON log of a runner."""
    return in_lines(scalars_of(runner))


def in_lines(path):
    return [(line['epoch'], line['probe/knn_top1'],
             line.get('probe/linear_top1'))
            for line in lines_of(path, 'probe/knn_top1')]


def test_separable_classes_are_told_apart(probed_cfg, run):
    runner = run(probed_cfg(log_level='INFO'))
    assert probes_of(runner) == [(epoch, 100., 100.) for epoch in range(3)]
    assert ('probe: epoch 1, k-NN top-1 100.00, linear top-1 100.00; of the '
            'patch mean 100.00, 100.00 (36 bank and 9 query images, '
            ) in log_of(runner)
    for name in ('knn', 'linear', 'knn_mean', 'linear_mean'):
        history = runner.message_hub.get_scalar(f'probe/{name}_top1').data[0]
        assert history.tolist() == [100] * 3
    # a probe leaves no trace
    model = runner.model.train()
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(),
              {k: v.clone() for k, v in model.state_dict().items()},
              [p.grad for p in model.parameters()])
    hook_of(runner, ProbeHook).probe(runner, 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert all(torch.equal(before[2][k], v)
               for k, v in model.state_dict().items())
    assert all(p.grad is g for p, g in zip(
        model.parameters(), before[3], strict=True))
    assert all(m.training for m in model.modules())
    # a diverged model is told, not scored
    model.backbone.cls_token.data.fill_(float('nan'))
    hook_of(runner, ProbeHook).probe(runner, 9)
    assert ('probe: epoch 9, none, as the features of 45 of 45 images are '
            'not finite') in log_of(runner)


def test_class_token_and_mean_are_told_apart(probed_cfg, run):
    """A class token that is always the same tells nothing, the mean all."""
    cfg = probed_cfg(**{'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(dict(type='ChangeTokens', priority=0))
    runner = run(cfg)
    (_, knn, linear), *_ = probes_of(runner)
    hub = runner.message_hub
    means = [hub.get_scalar(f'probe/{name}_mean_top1').data[0][0]
             for name in ('knn', 'linear')]
    assert means == [100, 100] and knn < 70 and linear < 70


def test_features_without_tokens_are_reported_once(probed_cfg, run):
    """Those of a backbone that averages its patches itself."""
    cfg = probed_cfg(**{'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(
        dict(type='ChangeTokens', average=True, priority=0))
    runner = run(cfg)
    assert probes_of(runner) == [(0, 100., 100.), (1, 100., 100.)]
    assert {name for name in runner.message_hub.log_scalars
            if name.startswith('probe/')} == {
                'probe/knn_top1', 'probe/linear_top1'}


def test_the_run_is_the_one_without_the_probe(probed_cfg, run):
    probed = run(probed_cfg('probed', **WORKERS))
    plain = probed_cfg('plain', **WORKERS)
    plain.default_hooks.pop('probe')
    plain = run(plain)
    assert len(probes_of(probed)) == 3
    assert loss_trace(probed).tolist() == loss_trace(plain).tolist()
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, probed.model.state_dict()[name]), name


def test_interval_and_start(probed_cfg, run):
    runner = run(probed_cfg(**{
        'train_cfg.max_epochs': 4, f'{PROBE}interval': 3,
        f'{PROBE}at_start': False, f'{PROBE}linear': False}))
    assert [epoch for epoch, *_ in probes_of(runner)] == [3, 4]


def test_resumed_run_reports_the_same(probed_cfg, run):
    options = {'train_cfg.max_epochs': 4, f'{PROBE}interval': 2}
    whole = run(probed_cfg('whole', **options))
    cfg = probed_cfg('again', **options)
    cfg.update(resume=True, load_from=f'{whole.work_dir}/epoch_1.pth')
    shutil.copytree(f'{whole.work_dir}/saliency', f'{cfg.work_dir}/saliency')
    again = run(cfg)
    assert probes_of(again) == probes_of(whole)[1:]


@pytest.mark.parametrize('kind', ['folder', 'ImageNet, repeated'])
def test_labels_of_any_data_set(probed_cfg, run, classes, images, tmp_path,
                                kind):
    """The run itself trains on a folder without labels."""
    dataset, val_dataset = str(classes), str(classes)
    if kind != 'folder':
        val_dataset = None
        shutil.copytree(classes, tmp_path / 'data' / 'train')
        (tmp_path / 'data' / 'list.txt').write_text('\n'.join(
            f'{p.relative_to(classes)} {p.parent.name[-1]}'
            for p in sorted(classes.rglob('*.jpg'))))
        dataset = dict(
            type='RepeatDataset', times=2, _scope_='mmengine', dataset=dict(
                type='mmpretrain.ImageNet', data_root=str(tmp_path / 'data'),
                split='train', ann_file='list.txt'))
    cfg = probed_cfg(**{f'{PROBE}dataset': dataset,
                        f'{PROBE}val_dataset': val_dataset,
                        'train_cfg.max_epochs': 1})
    cfg.train_dataloader.dataset = dict(
        type='amt_mm.ImageFolder', data_root=str(images),
        pipeline=cfg.train_dataloader.dataset.pipeline)
    np.testing.assert_allclose(
        probes_of(run(cfg)), [(0, 100, 100), (1, 100, 100)])


def test_wrong_data_and_loops_are_refused(tiny_cfg, probed_cfg, classes,
                                          tmp_path):
    shutil.copytree(classes / 'class0', tmp_path / 'alone' / 'class0')
    iterations = probed_cfg('iterations')
    iterations.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    iterations.custom_hooks = []
    for cfg, message in (
            (tiny_cfg(**{f'{PROBE}type': 'amt_mm.ProbeHook'}),
             'ImageFolder must have one class.*'
             r'default_hooks\.probe\.dataset=DIR'),
            (probed_cfg('few', **{f'{PROBE}k': 37}),
             'at least k=37 .* got 36 and 9'),
            (probed_cfg('alone', **{
                f'{PROBE}dataset': str(tmp_path / 'alone')}),
             'one class of 12 images'),
            (iterations, 'ProbeHook counts epochs')):
        with pytest.raises(ValueError, match=message):
            Runner.from_cfg(cfg).train()


def test_arguments_are_checked():
    for name, value in dict(interval=0, k=0, temperature=-1., max_images=2,
                            batch_size=0, num_workers=-1).items():
        with pytest.raises(ValueError, match=name):
            ProbeHook(**{name: value})


def test_two_processes_report_what_one_does(probed_cfg, run, classes,
                                            tmp_path):
    """45 images do not divide by two, nor 36 and 9 by the batch."""
    hard = tmp_path / 'hard'
    rng = np.random.default_rng(0)
    for path in classes.rglob('*.jpg'):
        noise = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        where = hard / path.relative_to(classes)
        where.parent.mkdir(parents=True, exist_ok=True)
        Image.blend(Image.fromarray(noise).resize((32, 32)),
                    Image.open(path).resize((32, 32)), 0.1).save(where)
    options = {'train_cfg.max_epochs': 1, 'optim_wrapper.optimizer.lr': 0.,
               'randomness': dict(seed=0, _delete_=True),
               f'{PROBE}dataset': str(hard), 'log_level': 'INFO'}
    alone = run(probed_cfg('alone', **options))
    cfg = probed_cfg('together', **options)
    assert train_together([cfg] * 2) == [None] * 2
    together = [line for log in (tmp_path / 'together').rglob('scalars.json')
                for line in in_lines(log)]
    assert together == probes_of(alone)
    assert 30 < together[0][1] < 100
