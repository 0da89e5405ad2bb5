"""The demos of transfer, shortened, from an encoder of the demo's kind."""

from __future__ import annotations

import re

import cv2
import pytest
import torch
from mmpretrain.models import VisionTransformer

from amt_mm.weights import check_checkpoint

CLASSIFY = ('train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=8',
            'train_dataloader.batch_size=8', 'val_dataloader.dataset.indices'
            '=8', 'train_dataloader.num_workers=0',
            'val_dataloader.num_workers=0')
DETECT = ('train_cfg.max_iters=1', 'train_cfg.val_interval=1',
         'train_dataloader.num_workers=0', 'train_dataloader.batch_size=1',
         'val_dataloader.num_workers=0', 'val_dataloader.dataset.indices=2',
         'default_hooks.checkpoint.interval=1',
         'default_hooks.visualization.interval=1')


@pytest.fixture
def encoder(tmp_path):
    """A checkpoint of random weights."""
    vit = VisionTransformer(dict(
        embed_dims=128, num_layers=4, num_heads=4,
        feedforward_channels=512), 64, 8)
    state = {f'backbone.{key}': value
             for key, value in vit.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(grid=[8, 8])),
               tmp_path / 'encoder.pth')
    return tmp_path / 'encoder.pth'


def check_checkpoints(folder):
    """What runs of mmpretrain and mmdet write holds no code."""
    paths = list(folder.rglob('*.pth'))
    assert paths
    for path in paths:
        check_checkpoint(str(path))


def test_demo_of_classification(tool, encoder, tmp_path):
    result = tool('demo_transfer', 'cls', '--checkpoint', encoder,
                  '--work-dir', tmp_path / 'demo', '--cfg-options', *CLASSIFY)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = re.findall(
        r'^vit-mini_(linear|finetune)_demo from (\S+).*: accuracy/top1 '
        r'(\d+\.?\d*) \(\d+ s\)$', result.stdout, re.M)
    assert [line[:2] for line in lines] == [
        (recipe, start) for recipe in ('linear', 'finetune')
        for start in (str(encoder), 'random')]
    assert all(0 <= float(line[2]) <= 100 for line in lines)
    check_checkpoints(tmp_path / 'demo')


def test_demo_of_detection(tool, encoder, tmp_path):
    result = tool('demo_transfer', 'det', '--checkpoint', encoder,
                  '--work-dir', tmp_path / 'demo', '--cfg-options', *DETECT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'pos_embed (1, 65, 128) -> (1, 16, 16, 128)' in result.stdout
    assert result.stdout.count('coco/segm_mAP_50') == 2
    pictures = sorted(tmp_path.glob('demo/*/*/vis_data/vis_image/*.png'))
    assert len(pictures) == 4  # two of each run
    for path in pictures:
        picture = cv2.imread(str(path))
        assert picture.shape == (128, 2 * 128, 3) and picture.std() > 10
    check_checkpoints(tmp_path / 'demo')


def test_without_an_encoder_it_says_how_to_make_one(tool, tmp_path):
    result = tool('demo_transfer', 'seg', '--checkpoint',
                  tmp_path / 'none.pth')
    assert result.returncode == 2
    assert 'none.pth: make it with tools/demo.py' in result.stderr
