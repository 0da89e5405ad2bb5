"""The k-NN tool, against the same by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from mmpretrain.models import VisionTransformer
from PIL import Image

from amt_mm.evaluation import top_accuracies, weighted_knn

CONFIG = """
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=32, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]
data_preprocessor = dict(
    num_classes=6, mean=[120.] * 3, std=[60.] * 3, to_rgb=True)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer', out_type='avg_featmap', final_norm=False,
        frozen_stages=2, img_size=32, patch_size=8, arch=dict(
            embed_dims=32, num_layers=2, num_heads=4,
            feedforward_channels=64)))
data_root = 'nowhere'
train_dataloader = dict(
    batch_size=7, num_workers=0, drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset', times=3, dataset=dict(
            type='CustomDataset', data_root=data_root, data_prefix='train',
            pipeline=[dict(type='RandomFlip', prob=1.)])))
val_dataloader = dict(
    batch_size=7, num_workers=0, drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root=data_root, data_prefix='val',
        pipeline=pipeline))
"""


@pytest.fixture(scope='module')
def classes(tmp_path_factory):
    """Return a folder of noisy images of six classes, hard to tell apart."""
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    hues = rng.integers(90, 160, (6, 3))
    for label, hue in enumerate(hues):
        for split, num in (('train', 10), ('val', 40)):
            folder = root / split / f'class{label}'
            folder.mkdir(parents=True)
            for i in range(num):
                noise = rng.integers(-80, 80, (4, 4, 3))
                pixels = np.clip(hue + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).resize(
                    (32, 32), Image.Resampling.NEAREST).save(
                        folder / f'{i}.png')
    (root / 'cfg.py').write_text(CONFIG)
    return root


def by_hand(classes, vit, ks, pool):
    """Return top-1 and top-5 accuracy for each k."""
    found = []
    for split in ('train', 'val'):
        paths = sorted((classes / split).rglob('*.png'))
        images = np.stack([np.array(Image.open(path)) for path in paths])
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            features = pool(vit((inputs - 120) / 60)[-1])
        found.append((features, torch.tensor(
            [int(path.parent.name[-1]) for path in paths])))
    (bank, labels), (queries, truth) = found
    return [top_accuracies(
        weighted_knn(queries, bank, labels, 6, k), truth) for k in ks]


def lines_of(result, name=''):
    assert result.returncode == 0, result.stderr[-2000:]
    return re.findall(
        fr'k-NN{name} top-1 ([\d.]+), top-5 ([\d.]+) \(k=(\d+), '
        r'T=([\d.]+), (\d+) train and (\d+) val images, (\d+) features, '
        r'\d+ s\)',
        result.stdout + result.stderr)


def test_prints_what_one_finds_by_hand(call, classes, tiny_arch):
    torch.manual_seed(1)
    vit = VisionTransformer(arch=tiny_arch, out_type='raw', img_size=32,
                            patch_size=8)
    torch.nn.init.normal_(vit.cls_token)
    vit.eval()
    torch.save({f'backbone.{k}': v for k, v in vit.state_dict().items()},
               classes / 'epoch_1.pth')  # does not say its grid
    result = call('knn', classes / 'cfg.py', classes / 'epoch_1.pth', '--k',
                  1, 5, 20, '--grid', 4, 4, '--cfg-options',
                  f'data_root={classes}')
    assert 'encoder loaded from' in result.stdout
    of_token, of_mean = (
        by_hand(classes, vit, (1, 5, 20), pool)
        for pool in (lambda x: x[:, 0], lambda x: x[:, 1:].mean(1)))
    for name, expected in (('', of_token), (' of the patch mean', of_mean)):
        assert lines_of(result, name) == [
            (f'{top[1]:.2f}', f'{top[5]:.2f}', str(k), '0.07', '60', '240',
             '32') for k, top in zip((1, 5, 20), expected, strict=True)
        ]
        assert len({top[1] for top in expected}) > 1
        assert 20 < expected[1][1] < 100
    assert of_token != of_mean


def test_random_weights_and_other_features(call, classes):
    result = call(
        'knn', classes / 'cfg.py', 'none', '--max-train', 31, '--feature',
        'avg_featmap', '--batch-size', 5, '--temperature', 0.1, '--device',
        'cpu', '--cfg-options', f'data_root={classes}')
    assert len(result.stdout.splitlines()) < 4
    (*_, k, temperature, num_train, num_val, width), = lines_of(result)
    assert (k, temperature, num_train, num_val, width) == (
        '20', '0.1', '31', '240', '32')


def test_wrong_arguments(call, classes):
    result = call('knn', classes / 'cfg.py', 'none', '--k', 61,
                  '--cfg-options', f'data_root={classes}')
    assert result.returncode == 1
    assert '--k must be at most the 60 training images, got 61.' in \
        result.stderr
    result = call('knn', 'configs/mae_amt_vit-t_30e_demo.py', 'none')
    assert result.returncode == 1
    assert 'must have a train_dataloader and a val_dataloader' in \
        result.stderr
