"""The demo of the transfer to classification, shortened."""

from __future__ import annotations

import re

import pytest
import torch
from mmpretrain.models import VisionTransformer

from amt_mm.datasets.demo_data import write_demo_data

SHORT = ('--cfg-options', 'train_cfg.max_epochs=1',
         'train_dataloader.batch_size=8',
         'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_demo_data(
        tmp_path_factory.mktemp('data'), num_train=8, num_val=8,
        image_size=64)


def test_accuracies_from_a_checkpoint_and_from_random_weights(
        tool, data, tmp_path):
    checkpoint = tmp_path / 'pretrained.pth'
    encoder = VisionTransformer('deit-tiny', img_size=64, patch_size=8)
    torch.save({f'backbone.{k}': v for k, v in encoder.state_dict().items()},
               checkpoint)
    result = tool('demo_cls', '--work-dir', tmp_path / 'run', '--data', data,
                  '--checkpoint', checkpoint, *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = re.findall(
        r'^(linear|finetune) from (pre-trained|random) weights: '
        r'top-1 (\d+\.\d)$', result.stdout, re.M)
    assert [line[:2] for line in lines] == [
        (recipe, start) for recipe in ('linear', 'finetune')
        for start in ('pre-trained', 'random')
    ]
    assert all(0 <= float(line[2]) <= 100 for line in lines)


def test_without_a_checkpoint_it_says_so(tool, data, tmp_path):
    result = tool('demo_cls', '--work-dir', tmp_path / 'run', '--data', data,
                  '--checkpoint', tmp_path / 'none.pth', *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'none.pth: from random weights only' in result.stdout
    assert 'pre-trained weights: top-1' not in result.stdout
    assert result.stdout.count('top-1') == 2
