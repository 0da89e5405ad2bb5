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

SMALL_VIT = ('model.backbone.arch.embed_dims=48',
             'model.backbone.arch.num_layers=2',
             'model.backbone.arch.num_heads=4',
             'model.backbone.arch.feedforward_channels=96',
             'model.backbone.arch._delete_=True', 'model.neck.embed_dim=48',
             'model.neck.decoder_embed_dim=32', 'model.neck.decoder_depth=1',
             'model.neck.decoder_num_heads=4')
SHORT = ('train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
         'default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval'
         '=1', 'custom_hooks.1.interval=1')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_demo_data(root, num_train=8, num_val=4, image_size=64)
    return root / 'train'


@pytest.fixture
def train(tool, tmp_path):
    """Return a function that trains on a folder; the command must succeed."""

    def run(name, data, epochs, *options, resume=(), code=0):
        result = tool('train', CUSTOM, '--work-dir', tmp_path / name, *resume,
                      '--cfg-options', *SMALL_VIT, *SHORT, f'data_root={data}',
                      f'train_cfg.max_epochs={epochs}', *options)
        assert result.returncode == code, result.stderr[-2000:]
        return result.stdout if code == 0 else result.stderr

    return run


def test_custom_folder_trains_and_resumes(train, images, tmp_path):
    """Counts and rates of the other methods are in the golden costs."""
    first = train('run', images, 2)
    assert '88 masked, 78 thrown, 30 visible of 196 tokens' in first
    assert 'effective batch size 4, peak learning rate 2.34e-06' in first
    assert (tmp_path / 'run/saliency/epoch_0001.npy').is_file()
    second = train('run', images, 3, resume=['--resume'])
    log = max(tmp_path.glob('run/*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line['epoch'] for line in lines if 'loss' in line} == {3}
    assert 'end of CosineAnnealingLR 4 -> 6' in second


def test_load_from_begins_a_run(train, images, tmp_path):
    """With a folder whose name mmengine's own options would cut up."""
    data = shutil.copytree(images, tmp_path / 'My Photos, 2023')
    train('a', data, 1)
    weights = tmp_path / 'a' / 'epoch_1.pth'
    load = f'load_from={weights}'
    assert f'a new run begins: encoder loaded from {weights}' in train(
        'b', data, 1, load, resume=['--resume'])
    assert (tmp_path / 'b' / 'epoch_1.pth').is_file()
    assert 'it has depth 2 instead of 3' in train(
        'c', data, 1, load, 'model.backbone.arch.num_layers=3', code=1)


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


def test_unreadable_files_are_skipped_and_counted(train, images, tmp_path):
    data = shutil.copytree(images, tmp_path / 'data')
    broken = data / 'broken.jpg'
    broken.write_bytes(b'no image')
    printed = train('skip', data, 1)
    assert 'skipped 1 of 9 images' in printed and str(broken) in printed
    assert f'cannot read the image {broken}' in train(
        'raise', data, 1, 'train_dataloader.dataset.on_unreadable=raise',
        code=1)


def test_flagship_on_real_imagenet_files(tool, unpack, tmp_path):
    """The flagship but for data, epochs, batch, interval and the ViT."""
    source = unpack('imagenet_native200')
    train = tmp_path / 'imagenet' / 'train'
    names = source / 'imagenet1k_synsets_from_filenames.txt'
    for line in names.read_text().splitlines():  # mmpretrain wants all 1,000
        (train / line.split()[0]).mkdir(parents=True)
    for path in sorted((source / 'val').glob('*.JPEG'))[:4]:
        shutil.copy(path, train / path.name.split('_')[0])
    options = (*SMALL_VIT, *SHORT, f'data_root={tmp_path / "imagenet"}',
               'train_dataloader.num_workers=1', 'param_scheduler.0.end=1',
               'param_scheduler.1.begin=1', 'param_scheduler.1.end=3')
    work_dir = tmp_path / 'run'
    for max_epochs in (2, 3):
        result = tool('train', FLAGSHIP, '--work-dir', work_dir, '--resume',
                      '--cfg-options', *options,
                      f'train_cfg.max_epochs={max_epochs}')
        assert result.returncode == 0, result.stderr[-2000:]
    assert 'resumed epoch: 2' in result.stdout
    assert 'saliency updated: epoch 2, 4 images' in result.stdout


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
