"""The demo, shortened, on generated and on other images."""

from __future__ import annotations

import cv2
import torch

SHORT = ('--cfg-options', 'train_cfg.max_epochs=3',
         'train_dataloader.dataset.indices=40',
         'train_dataloader.num_workers=0', 'custom_hooks.1.interval=1')


def test_demo_shows_what_it_did(tool, tmp_path):
    result = tool('demo', '--work-dir', tmp_path / 'demo', *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    for words in ('P(masked|salient)', 'P(thrown|salient)', 'centre prior',
                  'loss', '200 images'):
        assert words in result.stdout
    assert 'saliency updated: epoch 2' in result.stdout
    picture = cv2.imread(str(tmp_path / 'demo' / 'panels.png'))
    assert picture.shape[0] > 1000 and picture.std() > 30


def test_demo_on_a_folder(tool, tmp_path):
    tool('make_demo_data', tmp_path / 'data', '--num-train', 40, '--num-val',
         8)
    result = tool('demo', '--work-dir', tmp_path / 'demo', '--data',
                  tmp_path / 'data' / 'train', *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'P(visible|salient)' in result.stdout
    assert 'centre prior' not in result.stdout
    assert (tmp_path / 'demo' / 'panels.png').is_file()


def test_localize_tool(tool, tmp_path):
    tool('make_demo_data', tmp_path / 'data', '--num-train', 4, '--num-val',
         8)
    config = 'configs/mae_amt_vit-t_30e_demo.py'
    result = tool('localize', config, 'none', '--images',
                  tmp_path / 'data/val', '--masks',
                  tmp_path / 'data/semantic/val')
    assert result.returncode == 0, result.stderr[-2000:]
    assert '8 images' in result.stdout + result.stderr
    path = tmp_path / 'part.pth'
    torch.save({f'backbone.layers.{i}.ln1.bias': torch.zeros(192)
                for i in range(12)}, path)
    result = tool('localize', config, path, '--images', tmp_path / 'data/val',
                  '--masks', tmp_path / 'data/semantic/val')
    assert result.returncode == 1
    assert f'the encoder in {path} does not fit' in result.stderr
