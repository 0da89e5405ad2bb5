"""The demo of detection, shortened, from an encoder of the demo's kind."""

from __future__ import annotations

import cv2
import torch
from mmpretrain.models import VisionTransformer

SHORT = ('train_cfg.max_iters=1', 'train_cfg.val_interval=1',
         'train_dataloader.num_workers=0', 'train_dataloader.batch_size=1',
         'val_dataloader.num_workers=0', 'val_dataloader.dataset.indices=2',
         'default_hooks.checkpoint.interval=1',
         'default_hooks.visualization.interval=1')


def test_demo_of_detection(tool, tmp_path):
    encoder = VisionTransformer('deit-tiny', 64, 8)
    torch.save({f'backbone.{key}': value
                for key, value in encoder.state_dict().items()},
               tmp_path / 'encoder.pth')
    result = tool('demo_transfer', 'det', '--checkpoint',
                  tmp_path / 'encoder.pth', '--work-dir', tmp_path / 'demo',
                  '--cfg-options', *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'pos_embed (1, 65, 192) -> (1, 16, 16, 192)' in result.stdout
    assert result.stdout.count('coco/segm_mAP_50') == 2
    pictures = sorted(tmp_path.glob('demo/*/*/vis_data/vis_image/*.png'))
    assert len(pictures) == 4  # two of each run
    for path in pictures:
        picture = cv2.imread(str(path))
        assert picture.shape == (128, 2 * 128, 3) and picture.std() > 10
