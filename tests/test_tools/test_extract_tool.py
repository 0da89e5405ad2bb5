"""The features that the tool writes, against the same by hand."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmpretrain import FeatureExtractor
from PIL import Image
from small_configs import read_config

TRANSFER = Path(__file__).parents[2] / 'docs' / 'transfer.md'
DEMO = 'configs/mae_amt_vit-t_30e_demo.py'
CLASSIFIER = 'configs/classification/vit-t_linear_demo.py'
SIDE, GRID, WIDTH = 64, (8, 8), 192  # of both


@pytest.fixture(scope='module')
def checkpoint(demo_model, tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'epoch_1.pth'
    torch.save(dict(state_dict=demo_model.state_dict()), path)
    return path


@pytest.fixture
def images(jpeg_folder, tmp_path):
    """Nine images, one of them not readable, one of a name not in ASCII."""
    root = tmp_path / 'images'
    shutil.copytree(jpeg_folder, root)
    (root / '3.jpg').write_bytes(b'no image')
    (root / '7é').mkdir()
    shutil.copy(root / '0.jpg', root / '7é' / 'x y.JPG')
    return root


NAMES = ['0.jpg', '1.jpg', '2.jpg', '4.jpg', '5.jpg', '7é/x y.JPG',
         'below/6.jpg', 'below/7.jpg']


@torch.no_grad()
def tokens_of(model, root):
    """Return the tokens (N, 1 + L, D) of images resized whole."""
    pixels = np.stack([np.array(Image.open(root / name).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC)) for name in NAMES])
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    inputs = model.data_preprocessor(
        dict(inputs=inputs[:, [2, 1, 0]], data_samples=None))['inputs']
    return model.extract_feat(inputs)[-1]


POOLS = {
    'cls': lambda tokens: tokens[:, 0],
    'mean': lambda tokens: tokens[:, 1:].mean(1),
    'map': lambda tokens: tokens[:, 1:].mT.reshape(-1, WIDTH, *GRID),
}


def extract(call, out, config, checkpoint, images, *options):
    """Run the tool; return features, names and what was printed."""
    done = call('extract', config, checkpoint, '--images', images, '--out',
                out, '--batch-size', 3, '--device', 'cpu', *options)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    with np.load(out) as file:
        assert sorted(file) == ['features', 'names']
        return torch.from_numpy(file['features']), file['names'], text


@pytest.mark.parametrize(('pool', 'workers'),
                         [('cls', 2), ('mean', 0), ('map', 0)])
def test_features_by_a_config_of_pretraining(
        call, demo_model, checkpoint, images, tmp_path, pool, workers):
    features, names, text = extract(
        call, tmp_path / 'out' / 'f.npz', DEMO, checkpoint, images, '--pool',
        pool, '--num-workers', workers, '--map', 'pca', '--map-images', 8)
    assert names.tolist() == NAMES
    expected = POOLS[pool](tokens_of(demo_model, images))
    assert features.dtype == torch.float32
    assert features.shape == expected.shape and expected.std() > 0.1
    # resized by torch in place of Pillow
    assert (features - expected).abs().max() < 2e-2
    assert 'encoder loaded from' in text
    assert re.search(r'left out 1 of 9 images .*\n  .*/3\.jpg', text)
    assert '7 thumbnails at places by pca' in text  # 3.jpg is an eighth
    picture = mmcv.imread(tmp_path / 'out' / 'f.png')
    assert picture.shape == (1600, 1600, 3)
    assert 0.005 < (picture < 250).any(2).mean() < 0.1
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'f.npz', 'f.png']


def test_features_by_a_config_of_classification(
        call, checkpoint, images, tmp_path):
    """They are those of mmpretrain's FeatureExtractor."""
    features, names, _ = extract(
        call, tmp_path / 'f.npz', CLASSIFIER, checkpoint, images, '--grid',
        *GRID)
    assert names.tolist() == NAMES
    cfg = read_config(Path(CLASSIFIER).resolve())
    cfg.model.backbone.update(out_type='raw')
    theirs = FeatureExtractor(cfg, pretrained=str(checkpoint))(
        [str(images / name) for name in names], stage='backbone')
    tokens = torch.stack([own[-1] for own in theirs])
    assert tokens.shape == (8, 65, WIDTH)
    assert (features - POOLS['cls'](tokens)).abs().max() < 1e-4


def test_feature_extractor_as_documented(
        call, checkpoint, jpeg_folder, tmp_path):
    """The program of docs/transfer.md, on a file of the folder."""
    features, names, _ = extract(
        call, tmp_path / 'f.npz', DEMO, checkpoint, jpeg_folder)
    program, = (text for text in re.findall(
        r'```python\n(.*?)```', TRANSFER.read_text(), re.S)
        if 'FeatureExtractor' in text)
    for words, own in (('configs/mae_amt_vit-s_custom.py', DEMO),
                       ('(224, 224)', str((SIDE, SIDE))),
                       ("'FILE'", repr(str(checkpoint))),
                       ("'a.jpg'", repr(str(jpeg_folder / names[0]))),
                       ("'b.jpg'", repr(str(jpeg_folder / names[7])))):
        assert words in program
        program = program.replace(words, own)
    found = {}
    exec(program, found)
    assert found['class_tokens'].shape == (2, WIDTH)
    # resized by torch in place of Pillow
    assert (found['class_tokens'] - features[[0, 7]]).abs().max() < 2e-2


@pytest.mark.parametrize(('options', 'words'), [
    (['--out', 'f.npy'], '--out must end in .npz, got f.npy.'),
    (['--batch-size', '0'], '--batch-size must be >= 1, got 0.'),
    (['--images', 'nowhere'], "must be a folder of images, got 'nowhere'"),
    (['--images', 'BAD'], 'no readable image found in'),
    (['--map', 'umap'], 'umap needs the package umap-learn, which is not '
     'installed: pip install umap-learn'),
    (['configs/classification/vit-b_linear_90e_cifar10.py'],
     'must load images from files, by amt_mm.LoadImage')])
def test_wrong_arguments(call, jpeg_folder, tmp_path, options, words):
    if 'umap' in options and importlib.util.find_spec('umap'):
        pytest.skip('umap-learn is installed')
    (tmp_path / 'bad').mkdir()
    for i in range(3):
        (tmp_path / f'bad/{i}.jpg').write_bytes(b'no image')
    options = [str(tmp_path / 'bad') if o == 'BAD' else o for o in options]
    config = DEMO if options[0][0] == '-' else options.pop()
    done = call('extract', config, 'none', '--images', jpeg_folder, '--out',
                tmp_path / 'f.npz', '--num-workers', 0, *options)
    assert done.returncode and words in done.stderr
    assert 'Traceback' not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['bad']
