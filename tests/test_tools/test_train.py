"""tools/train.py from the command line, on real files."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from projects.demo.demo_data import write_demo_data

CONFIGS = Path(__file__).parents[2] / 'configs'
CUSTOM = CONFIGS / 'mae_amt_vit-s_custom.py'
FLAGSHIP = CONFIGS / 'mae_amt_vit-b_400e_in1k.py'

SMALL_ARCH = ('model.backbone.arch.embed_dims=48',
              'model.backbone.arch.num_layers=2',
              'model.backbone.arch.num_heads=4',
              'model.backbone.arch.feedforward_channels=96',
              'model.backbone.arch._delete_=True')
SMALL_VIT = (*SMALL_ARCH, 'model.neck.embed_dim=48',
             'model.neck.decoder_embed_dim=32', 'model.neck.decoder_depth=1',
             'model.neck.decoder_num_heads=4')
SMALL_LINEAR = (*SMALL_ARCH, 'model.neck.in_channels=48')
SHORT = ('train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
         'default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval'
         '=1')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_demo_data(root, num_train=8, num_val=4, image_size=64)
    return root


@pytest.mark.parametrize(('method', 'small', 'counts', 'rate'), [
    ('mae', SMALL_VIT, (88, 78, 30), '2.34e-06'),
    ('simmim', SMALL_LINEAR, (88, 52, 56), '7.81e-07'),
    ('maskfeat', SMALL_LINEAR, (54, 59, 83), '3.13e-06')])
def test_custom_folder_trains_and_resumes(tool, images, tmp_path, method,
                                          small, counts, rate):
    config = CONFIGS / f'{method}_amt_vit-s_custom.py'
    options = (*small, *SHORT, f'data_root={images / "train"}',
               'custom_hooks.1.interval=1')
    work_dir = tmp_path / 'run'
    first = tool('train', config, '--work-dir', work_dir, '--cfg-options',
                 *options, 'train_cfg.max_epochs=2')
    assert first.returncode == 0, first.stderr[-2000:]
    assert '{} masked, {} thrown, {} visible of 196 tokens'.format(
        *counts) in first.stdout
    assert f'effective batch size 4, peak learning rate {rate}' in \
        first.stdout
    assert (work_dir / 'saliency' / 'epoch_0001.npy').is_file()
    second = tool('train', config, '--work-dir', work_dir, '--resume',
                  '--cfg-options', *options, 'train_cfg.max_epochs=3')
    assert second.returncode == 0, second.stderr[-2000:]
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line['epoch'] for line in lines if 'loss' in line} == {3}
    assert 'end of CosineAnnealingLR 4 -> 6' in second.stdout


def test_load_from_begins_a_run(tool, images, tmp_path):
    """With a folder whose name mmengine's own options would cut up."""
    data = shutil.copytree(images / 'train', tmp_path / 'My Photos, 2023')
    options = (*SMALL_VIT, *SHORT, f'data_root={data}',
               'train_cfg.max_epochs=1', 'custom_hooks.1.interval=1')
    first = tool('train', CUSTOM, '--work-dir', tmp_path / 'a',
                 '--cfg-options', *options)
    assert first.returncode == 0, first.stderr[-2000:]
    weights = tmp_path / 'a' / 'epoch_1.pth'
    second = tool('train', CUSTOM, '--work-dir', tmp_path / 'b', '--resume',
                  '--cfg-options', *options, f'load_from={weights}')
    assert second.returncode == 0, second.stderr[-2000:]
    assert f'a new run begins: encoder loaded from {weights}' in second.stdout
    assert (tmp_path / 'b' / 'epoch_1.pth').is_file()
    third = tool('train', CUSTOM, '--work-dir', tmp_path / 'c',
                 '--cfg-options', *options, f'load_from={weights}',
                 'model.backbone.arch.num_layers=3')
    assert third.returncode == 1
    assert 'it has depth 2 instead of 3' in third.stderr


@pytest.mark.parametrize(('hook', 'start', 'asked', 'expected'), [
    # the start is (resume, load_from)
    ('Atomic', (True, None), [], (True, None)),
    ('Atomic', (True, 'x.pth'), [], (None, 'x.pth')),
    ('Atomic', (False, 'x.pth'), [], (False, 'x.pth')),
    ('Atomic', (None, 'x.pth'), ['--resume'], (None, 'x.pth')),
    ('Atomic', (None, 'x.pth'), ['--resume', 'y.pth'], (True, 'y.pth')),
    ('Atomic', (True, 'x.pth'), ['--cfg-options', 'resume=True'],
     (True, 'x.pth')),
    ('', (True, 'x.pth'), [], (False, 'x.pth')),
    ('', (False, 'x.pth'), ['--resume'], (True, None)),
])
def test_where_a_run_starts(monkeypatch, hook, start, asked, expected):
    monkeypatch.setattr(sys, 'argv', ['train.py', 'c.py', *asked])
    train = runpy.run_path(str(CONFIGS.parent / 'tools' / 'train.py'))
    cfg = Config(dict(
        resume=start[0], load_from=start[1],
        default_hooks=dict(checkpoint=dict(type=f'{hook}CheckpointHook'))))
    train['set_start'](cfg, train['parse_args']())
    assert (cfg.resume, cfg.load_from) == expected


def test_both_spellings_of_local_rank(tool):
    for spelling in ('--local_rank', '--local-rank'):
        assert tool('train', 'no_such_config.py', spelling,
                    '0').stderr.count('no_such_config.py')


def test_missing_data_says_where_and_what(tool, tmp_path):
    result = tool('train', FLAGSHIP, cwd=tmp_path)
    assert result.returncode == 1
    assert str(tmp_path / 'data/imagenet/train') in result.stderr
    assert 'train/CLASS/*.JPEG' in result.stderr
    assert 'Traceback' not in result.stderr


def test_unreadable_files_are_skipped_and_counted(tool, images, tmp_path):
    data = shutil.copytree(images / 'train', tmp_path / 'data')
    broken = data / 'broken.jpg'
    broken.write_bytes(b'no image')
    options = (*SMALL_VIT, *SHORT, f'data_root={data}',
               'train_cfg.max_epochs=1', 'custom_hooks.1.interval=1')
    result = tool('train', CUSTOM, '--work-dir', tmp_path / 'skip',
                  '--cfg-options', *options)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'skipped 1 of 9 images' in result.stdout
    assert str(broken) in result.stdout
    result = tool('train', CUSTOM, '--work-dir', tmp_path / 'raise',
                  '--cfg-options', *options,
                  'train_dataloader.dataset.on_unreadable=raise')
    assert result.returncode == 1
    assert f'cannot read the image {broken}' in result.stderr


def test_flagship_on_real_imagenet_files(tool, unpack, tmp_path):
    """The flagship unchanged but for data, epochs, batch and interval."""
    source = unpack('imagenet_native200')
    train = tmp_path / 'imagenet' / 'train'
    names = source / 'imagenet1k_synsets_from_filenames.txt'
    for line in names.read_text().splitlines():  # mmpretrain wants all 1,000
        (train / line.split()[0]).mkdir(parents=True)
    for path in sorted((source / 'val').glob('*.JPEG'))[:3]:
        shutil.copy(path, train / path.name.split('_')[0])
    options = (f'data_root={tmp_path / "imagenet"}',
               'train_dataloader.batch_size=3',
               'train_dataloader.num_workers=1', 'custom_hooks.1.interval=1',
               'default_hooks.logger.interval=1', 'param_scheduler.0.end=1',
               'param_scheduler.1.begin=1', 'param_scheduler.1.end=3')
    work_dir = tmp_path / 'run'
    for max_epochs in (2, 3):
        result = tool('train', FLAGSHIP, '--work-dir', work_dir, '--resume',
                      '--cfg-options', *options,
                      f'train_cfg.max_epochs={max_epochs}')
        assert result.returncode == 0, result.stderr[-2000:]
    assert 'resumed epoch: 2' in result.stdout
    assert 'saliency updated: epoch 2, 3 images' in result.stdout


def test_download_without_a_network(tool, tmp_path, monkeypatch):
    """CIFAR-10 is mmpretrain's own data set, which ends in a URLError."""
    for name in ('http_proxy', 'https_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    done = tool('train',
                CONFIGS / 'classification' / 'vit-b_linear_90e_cifar10.py',
                '--work-dir', tmp_path / 'run', '--cfg-options',
                f'data_root={tmp_path / "cifar10"}',
                'model.backbone.init_cfg=None',
                'model.backbone.arch=deit-tiny',
                'model.neck.input_features=192', 'model.head.in_channels=192')
    assert done.returncode == 1
    assert re.search(r'There is no data set in \S+cifar10, and it could not '
                     r'be downloaded \(.+\): place it there by hand',
                     done.stderr), done.stderr[-2000:]
