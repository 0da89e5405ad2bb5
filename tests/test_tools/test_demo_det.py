"""The demo of detection, shortened."""

from __future__ import annotations

import cv2
import torch
from mmpretrain.models import VisionTransformer

SHORT = ('--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
         'train_dataloader.num_workers=0', 'train_dataloader.batch_size=1',
         'val_dataloader.num_workers=0', 'val_dataloader.dataset.indices=6',
         'val_evaluator.ann_file=None')


def test_demo_from_an_encoder(tool, tmp_path):
    encoder = VisionTransformer('deit-tiny', 64, 8)
    torch.save({f'backbone.{key}': value
                for key, value in encoder.state_dict().items()},
               tmp_path / 'encoder.pth')
    result = tool('demo_det', '--work-dir', tmp_path / 'demo', '--checkpoint',
                  tmp_path / 'encoder.pth', *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'encoder loaded' in result.stdout
    assert 'resized pos_embed (1, 65, 192) -> (1, 16, 16, 192)' in \
        result.stdout
    for words in ('AP of boxes', 'AP of masks', 'trained 2 iterations'):
        assert words in result.stdout
    picture = cv2.imread(str(tmp_path / 'demo' / 'detections.png'))
    assert picture.shape == (6 * 128, 2 * 128, 3) and picture.std() > 20


def test_demo_without_a_checkpoint_says_so(tool, tmp_path):
    result = tool('demo_det', *SHORT, 'model.rpn_head.type=none', cwd=tmp_path)
    assert result.returncode == 1
    assert 'training from random weights; `make demo`' in result.stdout
    assert (tmp_path / 'work_dirs' / 'demo_det' / 'data').is_dir()
