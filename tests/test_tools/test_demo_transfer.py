"""The demos of transfer, shortened, from an encoder of the demo's kind."""

from __future__ import annotations

import re

import cv2
import pytest
import torch
from mmpretrain.models import VisionTransformer

from amt_mm.weights import check_checkpoint
from projects.demo.foreground_iou import ForegroundIoUMetric

SHORT = ('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0')
CLASSIFY = (*SHORT, 'train_cfg.max_epochs=1',
            'train_dataloader.dataset.indices=8',
            'train_dataloader.batch_size=8',
            'val_dataloader.dataset.indices=8')
ONE_STEP = (*SHORT, 'train_cfg.max_iters=1', 'train_cfg.val_interval=1',
            'train_dataloader.batch_size=1',
            'val_dataloader.dataset.indices=2',
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


@pytest.fixture
def transfer(tool, encoder, demo):
    """Return a function that runs a demo and returns what it prints."""

    def run(task, *options):
        result = tool('demo_transfer', task, '--checkpoint', encoder,
                      '--work-dir', demo, '--cfg-options', *options)
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    return run


def check_checkpoints(folder):
    """What runs of mmpretrain and mmdet write holds no code."""
    paths = list(folder.rglob('*.pth'))
    assert paths
    for path in paths:
        check_checkpoint(str(path))


def test_demo_of_classification(transfer, encoder, demo):
    printed = transfer('cls', *CLASSIFY)
    lines = re.findall(
        r'^vit-mini_(linear|finetune)_demo from (\S+).*: accuracy '
        r'(\d+\.?\d*) % \(\d+ s\)$', printed, re.M)
    assert [line[:2] for line in lines] == [
        (recipe, start) for recipe in ('linear', 'finetune')
        for start in (str(encoder), 'random')]
    assert all(0 <= float(line[2]) <= 100 for line in lines)
    better = re.findall(r'^(?:better start: (the demo|random weights), by '
                        r'(\d+\.\d) points|no start is better than the '
                        r'other)$', printed, re.M)
    differences = [float(a[2]) - float(b[2])
                   for a, b in (lines[:2], lines[2:])]
    assert better == [
        ('' if not d else 'the demo' if d > 0 else 'random weights',
         f'{abs(d):.1f}' if d else '') for d in differences]
    check_checkpoints(demo)


def test_demo_of_detection(transfer, demo):
    printed = transfer('det', *ONE_STEP)
    assert 'resized pos_embed (1, 65, 128) -> (1, 8, 8, 128)' in printed
    assert printed.count('AP50 of the masks') == 2
    pictures = sorted(demo.glob('*/*/vis_data/vis_image/*.png'))
    assert len(pictures) == 4  # two of each run
    for path in pictures:
        picture = cv2.imread(str(path))
        assert picture.shape == (128, 2 * 128, 3) and picture.std() > 10
    sheet = cv2.imread(str(demo / 'mask-rcnn_vitdet-mini_demo.png'))
    # two rows of truth, one start, the other
    assert sheet.shape[0] > 2 * 256 and sheet.shape[1] > 3 * 256
    check_checkpoints(demo)


def test_demo_of_segmentation(transfer, demo):
    printed = transfer('seg', *ONE_STEP, 'train_dataloader.batch_size=2')
    found = re.findall(r'^upernet_vit-mini_demo from \S+.*: mean IoU of the '
                       r'classes without the background (\d+\.\d) %',
                       printed, re.M)
    assert len(found) == 2
    assert (demo / 'upernet_vit-mini_demo.png').is_file()


def test_the_background_is_left_out():
    """Of 4 pixels of class 1 one is found, of 2 of class 2 both."""
    metric = ForegroundIoUMetric()
    metric.dataset_meta = dict(classes=['background', 'a', 'b', 'absent'])
    truth = torch.tensor([[0, 0, 1, 1, 1, 1, 2, 2]])
    found = torch.tensor([[0, 0, 1, 0, 0, 0, 2, 2]])
    metric.process({}, [dict(pred_sem_seg=dict(data=found),
                             gt_sem_seg=dict(data=truth))])
    metrics = metric.evaluate(1)
    assert metrics['mIoU_foreground'] == 62.5  # of 0.25 and 1
    assert metrics['mIoU'] == 55.0  # and 2 of 5


def test_without_an_encoder_it_says_how_to_make_one(tool, tmp_path):
    result = tool('demo_transfer', 'seg', '--checkpoint',
                  tmp_path / 'none.pth')
    assert result.returncode == 2
    assert 'none.pth: make it with tools/demo.py' in result.stderr
