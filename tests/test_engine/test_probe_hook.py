"""The probe of a run: what it reports, and which data it refuses.

That it changes nothing, what several processes find, and other refusals are in
test_hooks_that_look.py.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from PIL import Image
from tiny_run import assert_same_weights, hook_of, lines_of, log_of, scalars_of

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
            'train_cfg.max_epochs': 1,
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


def probes_of(runner):
    """Return epoch and results of each probe in the JSON log of a runner."""
    return [(line['epoch'], line['probe/knn_top1'],
             line.get('probe/linear_top1'))
            for line in lines_of(scalars_of(runner), 'probe/knn_top1')]


def same_class_token(backbone, args, tokens):
    """Make the class token tell nothing."""
    first = tokens[-1]
    return torch.cat([torch.ones_like(first[:, :1]), first[:, 1:]], 1),


def mean_of_patches(backbone, args, tokens):
    """Return what a backbone would that averages its patches itself."""
    return tokens[-1][:, 1:].mean(1),


def test_separable_classes_are_told_apart(probed_cfg, run):
    runner = run(probed_cfg(log_level='INFO'))
    assert probes_of(runner) == [(epoch, 100., 100.) for epoch in range(2)]
    assert ('probe: epoch 1, k-NN top-1 100.00, linear top-1 100.00; of the '
            'patch mean 100.00, 100.00 (36 bank and 9 query images, '
            ) in log_of(runner)
    for name in ('knn', 'linear', 'knn_mean', 'linear_mean'):
        history = runner.message_hub.get_scalar(f'probe/{name}_top1').data[0]
        assert history.tolist() == [100] * 2

    model, hook = runner.model.train(), hook_of(runner, ProbeHook)
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(),
              {k: v.clone() for k, v in model.state_dict().items()},
              [p.grad for p in model.parameters()])
    hook.probe(runner, 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert_same_weights(model, before[2])
    assert all(p.grad is g for p, g in zip(
        model.parameters(), before[3], strict=True))
    assert all(m.training for m in model.modules())

    with model.backbone.register_forward_hook(same_class_token):
        hook.probe(runner, 3)
    last = lines_of(scalars_of(runner), 'probe/knn_top1')[-1]
    assert last['probe/knn_mean_top1'] == last['probe/linear_mean_top1'] == 100
    assert max(last['probe/knn_top1'], last['probe/linear_top1']) < 70
    with model.backbone.register_forward_hook(mean_of_patches):
        hook.probe(runner, 4)
    last = lines_of(scalars_of(runner), 'probe/knn_top1')[-1]
    assert {name: value for name, value in last.items() if 'probe' in name
            } == {'probe/knn_top1': 100, 'probe/linear_top1': 100}

    # a diverged model is told, not scored
    model.backbone.cls_token.data.fill_(float('nan'))
    hook.probe(runner, 9)
    assert ('probe: epoch 9, none, as the features of 45 of 45 images are '
            'not finite') in log_of(runner)


def imagenet_twice(classes, root):
    """Describe the classes as ImageNet's with a list, each image twice."""
    shutil.copytree(classes, root / 'train')
    (root / 'list.txt').write_text('\n'.join(
        f'{path.relative_to(classes)} {path.parent.name[-1]}'
        for path in sorted(classes.rglob('*.jpg'))))
    return dict(
        type='RepeatDataset', times=2, _scope_='mmengine', dataset=dict(
            type='mmpretrain.ImageNet', data_root=str(root), split='train',
            ann_file='list.txt'))


@pytest.mark.parametrize('kind', ['folder', 'ImageNet, repeated'])
def test_labels_of_any_data_set(probed_cfg, run, classes, images, tmp_path,
                                kind):
    """The run itself trains on a folder without labels."""
    if kind == 'folder':
        expected = [(0, 100, 100), (1, 100, 100)]
        options = {f'{PROBE}dataset': str(classes),
                   f'{PROBE}val_dataset': str(classes)}
    else:
        expected = [(3, 100, None), (4, 100, None)]
        options = {f'{PROBE}dataset': imagenet_twice(
                       classes, tmp_path / 'data'),
                   f'{PROBE}at_start': False, f'{PROBE}interval': 3,
                   f'{PROBE}linear': False, 'train_cfg.max_epochs': 4}
    cfg = probed_cfg(**options)
    cfg.train_dataloader.dataset = dict(
        type='amt_mm.ImageFolder', data_root=str(images), indices=8,
        pipeline=cfg.train_dataloader.dataset.pipeline)
    assert probes_of(run(cfg)) == [pytest.approx(row) for row in expected]


def test_wrong_data_is_refused(tiny_cfg, probed_cfg, classes, tmp_path):
    shutil.copytree(classes / 'class0', tmp_path / 'alone' / 'class0')
    for cfg, message in (
            (tiny_cfg(**{f'{PROBE}type': 'amt_mm.ProbeHook'}),
             'ImageFolder must have one class.*'
             r'default_hooks\.probe\.dataset=DIR'),
            (probed_cfg('few', **{f'{PROBE}k': 37}),
             'at least k=37 .* got 36 and 9'),
            (probed_cfg('alone', **{
                f'{PROBE}dataset': str(tmp_path / 'alone')}),
             'one class of 12 images')):
        with pytest.raises(ValueError, match=message):
            Runner.from_cfg(cfg).train()
