"""Images of any number of channels, through a run of the real tool."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from small_configs import CONFIGS
from test_tools.conftest import load

from amt_mm.datasets.transforms import LoadArray, UnreadableImageError

tifffile = pytest.importorskip('tifffile')
NUM_BANDS = 5
CONFIG = CONFIGS / 'mae_amt_vit-s_bands.py'
SMALL = (
    'model.backbone.arch.embed_dims=32', 'model.backbone.arch.num_layers=2',
    'model.backbone.arch.num_heads=4',
    'model.backbone.arch.feedforward_channels=32',
    'model.backbone.arch._delete_=True', 'model.backbone.img_size=64',
    'model.neck.num_patches=16', 'model.neck.decoder_embed_dim=32',
    'model.neck.decoder_depth=1', 'model.neck.decoder_num_heads=4',
    'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
    'train_dataloader.dataset.pipeline.1.value_range=0,4095',
    'train_dataloader.dataset.pipeline.2.scale=64',
    'train_dataloader.dataset.pipeline.4.input_size=64',
    'train_cfg.max_epochs=2', 'custom_hooks.1.interval=1',
    'default_hooks.visualization.interval=1')


@pytest.fixture
def printed(monkeypatch, capsys):
    """Return a function that calls a tool and returns what it prints."""

    def call(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        load(name).main()
        return capsys.readouterr().out

    yield call
    # which the tool for features had raised
    MMLogger.get_current_instance().setLevel('INFO')


def bands(seed, dtype='u2'):
    """Return an image (40, 48, C) of levels below 4096."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4096, (40, 48, NUM_BANDS)).astype(dtype)


def write_arrays(folder):
    """Write the same kind of image in each way that channels are stored."""
    folder.mkdir()
    first = np.moveaxis(bands(0), 2, 0)
    tifffile.imwrite(folder / 'pages.tif', first)
    tifffile.imwrite(folder / 'no_names.tif', bands(0))
    tifffile.imwrite(folder / 'planar.tif', first, planarconfig='separate',
                     photometric='minisblack')
    tifffile.imwrite(folder / 'samples.tif', bands(0),
                     planarconfig='contig', photometric='minisblack')
    tifffile.imwrite(folder / 'float.tif', bands(0, 'f4'),
                     photometric='minisblack', planarconfig='contig')
    np.save(folder / 'last.npy', bands(0, 'i4'))
    np.save(folder / 'first.npy', first)
    return folder


def test_every_layout_gives_the_same(tmp_path):
    load = LoadArray(value_range=(0, 4095), num_channels=NUM_BANDS)
    for path in write_arrays(tmp_path / 'images').iterdir():
        results = load(dict(img_path=str(path)))
        assert results['img'].dtype == np.float32, path
        np.testing.assert_allclose(
            results['img'], bands(0) / np.float32(4095), err_msg=str(path))
        assert results['ori_shape'] == (40, 48)


@pytest.mark.parametrize('content, message', [
    (np.zeros((8, 9)), 'num_channels must be 1, as the image has, got 5'),
    (np.full((8, 9, 5), np.nan), '360 of 360 values are not finite'),
    (np.zeros((8, 9, 5), complex), 'of real numbers'),
    (np.zeros((2, 3, 4, 5)), r'must be (H, W) or (H, W, C)'),
    (np.array([{}]), 'Object arrays cannot be loaded'),
    (np.zeros((80, 90, 5)), 'max_pixels 1,000 pixels, got 80 x 90'),
    (b'nothing', 'it is not a TIFF file or NumPy array'),
])
def test_what_it_is_not(tmp_path, content, message):
    path = tmp_path / 'image.npy'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(UnreadableImageError) as caught:
        LoadArray(value_range=(0, 1), num_channels=NUM_BANDS,
                  max_pixels=1000)(dict(img_path=str(path)))
    assert message in str(caught.value)


@pytest.mark.parametrize('options, message', [
    (dict(value_range=(0, 1), keep_last=True), 'and no keep_last'),
    (dict(value_range=(1, 1)), 'low < high, got')])
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        LoadArray(**options)


def test_statistics_without_what_is_missing(printed, tmp_path):
    image = bands(0, 'f4')
    image[:20] = -9999
    image[20:22, :, 1] = np.nan
    np.save(tmp_path / 'x.npy', image)
    found = printed('dataset_stats', tmp_path, '--nodata', -9999)
    data = image[22:].reshape(-1, NUM_BANDS)
    assert f'levels {data.min():g} to {data.max():g}' in found
    scaled = (data - data.min()) / (data.max() - data.min())
    mean = ','.join(f'{n:.4g}' for n in scaled.mean(0))
    assert f'data_preprocessor.mean={mean}' in found


def test_statistics_pretraining_and_features(printed, tmp_path):
    """Through the tools, with an update of the maps and pictures."""
    folder = write_arrays(tmp_path / 'images')
    found = printed('dataset_stats', folder)
    assert f'7 of {NUM_BANDS} channels' not in found  # of several types
    lines = [line for line in found.splitlines() if line.startswith(
        ('model.', 'train_', 'data_preprocessor.'))]
    assert lines[0] == f'model.backbone.patch_cfg.in_channels={NUM_BANDS}'
    run = tmp_path / 'run'
    printed('train', CONFIG, '--work-dir', run, '--cfg-options',
            f'data_root={folder}', *lines, *SMALL)
    log = next(run.rglob('*.log')).read_text()
    assert 'saliency updated: epoch 1, 7 images' in log
    state = torch.load(run / 'epoch_2.pth', weights_only=False)['state_dict']
    assert state['neck.decoder_pred.weight'].shape[0] == 16**2 * NUM_BANDS
    assert len(list(run.glob('*/vis_data/vis_image/*.png'))) == 3
    said = printed('extract', run / 'mae_amt_vit-s_bands.py',
                   run / 'epoch_2.pth', '--images', folder, '--out',
                   tmp_path / 'features.npz')
    assert 'features (7, 32)' in said
