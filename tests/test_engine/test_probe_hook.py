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

NUM_CLASSES, NUM_OF_CLASS = 3, 15
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


@HOOKS.register_module()
class MuteClassToken(Hook):
    """Make the model's class token the same for all images."""

    def before_run(self, runner):
        def mute(backbone, args, tokens):
            first = tokens[-1]
            if first.ndim == 3 and not backbone.training:
                return torch.cat([
                    torch.ones_like(first[:, :1]), first[:, 1:]], 1),
        runner.model.backbone.register_forward_hook(mute)


@HOOKS.register_module()
class AverageTokens(Hook):
    """Make the model give the mean of its patches alone."""

    def before_run(self, runner):
        def average(backbone, args, tokens):
            if not backbone.training:
                return tokens[-1][:, 1:].mean(1),
        runner.model.backbone.register_forward_hook(average)


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


def test_class_token_and_mean_are_told_apart(probed_cfg, run):
    """A class token that is always the same tells nothing, the mean all."""
    cfg = probed_cfg(**{'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(dict(type='MuteClassToken', priority=0))
    runner = run(cfg)
    (_, knn, linear), *_ = probes_of(runner)
    hub = runner.message_hub
    means = [hub.get_scalar(f'probe/{name}_mean_top1').data[0][0]
             for name in ('knn', 'linear')]
    assert means == [100, 100] and knn < 70 and linear < 70


def test_features_without_tokens_are_reported_once(probed_cfg, run):
    """Those of a backbone that averages its patches itself."""
    cfg = probed_cfg(**{'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(dict(type='AverageTokens', priority=0))
    runner = run(cfg)
    assert probes_of(runner) == [(0, 100., 100.), (1, 100., 100.)]
    assert {name for name in runner.message_hub.log_scalars
            if name.startswith('probe/')} == {
                'probe/knn_top1', 'probe/linear_top1'}


def test_shuffled_labels_are_chance(probed_cfg, run, classes, tmp_path):
    paths = sorted(p.relative_to(classes) for p in classes.rglob('*.jpg'))
    labels = np.random.default_rng(0).permutation(len(paths)) % NUM_CLASSES
    listed = tmp_path / 'list.txt'
    listed.write_text('\n'.join(
        f'{p} {n}' for p, n in zip(paths, labels, strict=True)))
    data = dict(type='CustomDataset', data_root=str(classes))
    runner = run(probed_cfg(**{
        f'{PROBE}dataset': dict(data, ann_file=str(listed)),
        f'{PROBE}val_dataset': dict(data, ann_file=str(listed)),
        f'{PROBE}max_images': 200,
        f'{PROBE}k': 45,
        f'{PROBE}temperature': 100.,
        f'{PROBE}linear': False,
        'train_cfg.max_epochs': 1,
    }))
    # every query sees the same votes, 15 of each class, its own included
    assert all(20 < knn < 60 and linear is None
               for _, knn, linear in probes_of(runner))


def test_the_run_is_the_one_without_the_probe(probed_cfg, run):
    options = {**WORKERS, 'train_cfg.max_epochs': 3}
    probed = run(probed_cfg('probed', **options))
    plain = probed_cfg('plain', **options)
    plain.default_hooks.pop('probe')
    plain = run(plain)
    assert len(probes_of(probed)) == 4
    assert loss_trace(probed).tolist() == loss_trace(plain).tolist()
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, probed.model.state_dict()[name]), name


def test_a_probe_leaves_no_trace(probed_cfg, run):
    runner = run(probed_cfg())
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


@pytest.mark.parametrize(('options', 'epochs'), [
    ({'interval': 2}, [0, 2, 4, 5]),
    ({'interval': 3, 'at_start': False}, [3, 5]),
])
def test_interval(probed_cfg, run, options, epochs):
    runner = run(probed_cfg(**{
        'train_cfg.max_epochs': 5, f'{PROBE}linear': False,
        **{PROBE + name: value for name, value in options.items()}}))
    assert [epoch for epoch, *_ in probes_of(runner)] == epochs


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
    dataset = str(classes)
    if kind != 'folder':
        shutil.copytree(classes, tmp_path / 'data' / 'train')
        (tmp_path / 'data' / 'list.txt').write_text('\n'.join(
            f'{p.relative_to(classes)} {p.parent.name[-1]}'
            for p in sorted(classes.rglob('*.jpg'))))
        dataset = dict(
            type='RepeatDataset', times=2, _scope_='mmengine', dataset=dict(
                type='mmpretrain.ImageNet', data_root=str(tmp_path / 'data'),
                split='train', ann_file='list.txt'))
    cfg = probed_cfg(**{f'{PROBE}dataset': dataset,
                        'train_cfg.max_epochs': 1})
    cfg.train_dataloader.dataset = dict(
        type='amt_mm.ImageFolder', data_root=str(images),
        pipeline=cfg.train_dataloader.dataset.pipeline)
    assert probes_of(run(cfg)) == [(0, 100., 100.), (1, 100., 100.)]


def test_images_without_labels_are_refused(tiny_cfg):
    cfg = tiny_cfg(**{f'{PROBE}type': 'amt_mm.ProbeHook'})
    with pytest.raises(ValueError, match='ImageFolder must have one class.*'
                       r'default_hooks\.probe\.dataset=DIR'):
        Runner.from_cfg(cfg).train()


def test_too_few_images_are_refused(probed_cfg, classes, tmp_path):
    cfg = probed_cfg(**{f'{PROBE}k': 37})
    with pytest.raises(ValueError, match='at least k=37 .* got 36 and 9'):
        Runner.from_cfg(cfg).train()
    shutil.copytree(classes / 'class0', tmp_path / 'alone' / 'class0')
    cfg = probed_cfg('alone', **{f'{PROBE}dataset': str(tmp_path / 'alone')})
    with pytest.raises(ValueError, match='one class of 12 images'):
        Runner.from_cfg(cfg).train()


def test_arguments_are_checked():
    for name, value in dict(interval=0, k=0, temperature=-1., max_images=2,
                            batch_size=0, num_workers=-1).items():
        with pytest.raises(ValueError, match=name):
            ProbeHook(**{name: value})


def test_iterations_are_refused(probed_cfg):
    cfg = probed_cfg()
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    cfg.custom_hooks = []
    with pytest.raises(ValueError, match='ProbeHook counts epochs'):
        Runner.from_cfg(cfg).train()


def test_a_diverged_model_is_told_not_scored(probed_cfg, run):
    cfg = probed_cfg(**{'train_cfg.max_epochs': 1, f'{PROBE}at_start': False})
    runner = run(cfg)
    runner.model.backbone.cls_token.data.fill_(float('nan'))
    hook_of(runner, ProbeHook).probe(runner, 9)
    assert ('probe: epoch 9, none, as the features of 45 of 45 images are '
            'not finite') in log_of(runner)


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
