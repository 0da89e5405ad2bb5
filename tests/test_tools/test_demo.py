"""The demo, shortened, on generated and on other images."""

from __future__ import annotations

import json
import re

import cv2
import pytest
import torch

from amt_mm.evaluation import masks_from_folder
from amt_mm.evaluation.localization import (
    centre_prior,
    measure_localization,
)

CONFIG = 'configs/mae_amt_vit-t_30e_demo.py'
SHORT = ('--cfg-options', 'train_cfg.max_epochs=3',
         'train_dataloader.dataset.indices=16',
         'train_dataloader.num_workers=0', 'custom_hooks.1.interval=1',
         'train_dataloader.batch_size=8')


def test_demo_shows_what_it_did(tool, demo):
    result = tool('demo', '--work-dir', demo, *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    for words in ('P(masked|salient)', 'P(thrown|salient)', 'loss',
                  'of 200 images it never saw',
                  'of the mean of each masked patch: median'):
        assert words in result.stdout
    saliency, centre = map(float, re.search(
        r'precision (\S+), the centre of the image (\S+)\n',
        result.stdout).groups())
    assert saliency > centre + 0.1
    shares = re.search(r'objects (\S+) masked, (\S+) thrown, (\S+) visible',
                       result.stdout).groups()
    assert float(shares[0]) > 0.5  # by chance 0.39
    assert sum(map(float, shares)) == pytest.approx(1, abs=0.02)
    assert all(0 <= float(top) <= 100 for top in re.search(
        r'classes in (\S+) %, with random weights in (\S+) %',
        result.stdout).groups())
    assert 'saliency updated: epoch 0' in result.stdout
    picture = cv2.imread(str(demo / 'panels.png'))
    assert picture.shape[0] > 1000 and picture.std() > 30


def test_demo_on_a_folder(tool, demo_data, tmp_path):
    result = tool('demo', '--work-dir', tmp_path / 'demo', '--data',
                  demo_data / 'train', *SHORT)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'P(visible|salient)' in result.stdout
    assert 'never saw' not in result.stdout
    assert (tmp_path / 'demo' / 'panels.png').is_file()


@pytest.fixture
def localize(call, demo_data):
    """Return a function that calls the tool on eight images."""

    def run(*args):
        return call('localize', CONFIG, *args, '--images', demo_data / 'val',
                    '--masks', demo_data / 'semantic/val')

    return run


def test_localize_tool(localize, demo_data, tmp_path):
    result = localize('none')
    assert result.returncode == 0, result.stderr[-2000:]
    printed = result.stdout + result.stderr
    assert '8 images' in printed
    found = json.loads(re.search(r'{.*}', printed).group())
    # the maps of random weights are not known, the prior beside them is
    expected = measure_localization(
        (centre_prior(8, 8), mask) for mask in masks_from_folder(
            demo_data / 'val', demo_data / 'semantic/val').values())
    for name in ('pointing', 'average_precision'):
        assert found[f'centre_{name}'] == pytest.approx(
            getattr(expected, name).mean)
        assert 0 <= found[name] <= 1
        assert found[f'{name}_gain'] == pytest.approx(
            found[name] - found[f'centre_{name}'])
    assert found['average_precision'] != found['centre_average_precision']
    path = tmp_path / 'part.pth'
    torch.save({f'backbone.layers.{i}.ln1.bias': torch.zeros(192)
                for i in range(12)}, path)
    result = localize(path)
    assert result.returncode == 1
    assert f'the encoder in {path} does not fit' in result.stderr


def test_localize_tool_takes_a_source(localize):
    for args in (('--source', 'PixelSaliency', 'method=geodesic'),
                 ('none', '--source')):
        result = localize(*args)
        assert result.returncode == 0, result.stderr[-2000:]
        assert '8 images' in result.stdout + result.stderr
        assert 'P(masked|object) 0.' in result.stdout + result.stderr
    assert 'either CHECKPOINT or --source is needed' in localize().stderr
