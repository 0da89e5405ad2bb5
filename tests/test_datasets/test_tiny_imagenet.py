"""Tiny ImageNet in the official layout and in that of a folder per class."""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from data_files import write_tiny_imagenet
from PIL import Image

from amt_mm.datasets import TinyImageNet, labelled_sets

WNIDS = ('n02', 'n01', 'n03')
LOAD = [dict(type='LoadImageFromFile')]


@pytest.fixture
def root(tmp_path):
    """Three classes of two images each, of one colour per class."""
    files = {}
    for number, wnid in enumerate(WNIDS):
        path = tmp_path / f'{wnid}.jpg'
        colour = np.eye(3, dtype=np.uint8)[number] * 255
        Image.fromarray(np.full((64, 64, 3), colour)).save(path)
        files[wnid] = [path, path]
    root = tmp_path / 'data' / 'tiny-imagenet-200'
    write_tiny_imagenet(root, files)
    (root / 'train' / 'n01' / 'n01_boxes.txt').write_text('no image')
    return root


def _labels_by_name(dataset):
    return {
        Path(dataset.get_data_info(i)['img_path']).name:
        dataset.get_data_info(i)['gt_label']
        for i in range(len(dataset))
    }


@pytest.mark.parametrize('split', ['train', 'val'])
def test_official_layout(root, split):
    dataset = TinyImageNet(
        data_root=str(root), split=split, pipeline=LOAD)
    assert dataset.CLASSES == ('n01', 'n02', 'n03')
    assert _labels_by_name(dataset) == {
        f'{wnid}_{i}.JPEG': label
        for label, wnid in enumerate(sorted(WNIDS)) for i in range(2)
    }
    for sample in dataset:
        # n02 is red, n01 green and n03 blue; files are read as BGR
        channel = [1, 2, 0][sample['gt_label']]
        assert sample['img'].shape == (64, 64, 3)
        assert sample['img'].mean((0, 1)).argmax() == channel


def test_root_may_be_the_folder_above(root):
    dataset = TinyImageNet(data_root=str(root.parent))
    assert len(dataset) == 6
    assert dataset.get_data_info(0)['img_path'].startswith(str(root))


def test_validation_with_a_folder_per_class(root):
    val = root / 'val'
    names = _labels_by_name(TinyImageNet(data_root=str(root), split='val'))
    for wnid in WNIDS:
        (val / wnid).mkdir()
        for path in (val / 'images').glob(f'{wnid}_*'):
            path.rename(val / wnid / path.name)
    (val / 'images').rmdir()
    again = TinyImageNet(data_root=str(root), split='val')
    assert _labels_by_name(again) == names


def test_absent_data_and_no_network(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(labelled_sets, 'download_and_extract_archive',
                        no_network)
    with pytest.raises(FileNotFoundError) as info:
        TinyImageNet(data_root=str(tmp_path))
    message = str(info.value)
    assert labelled_sets.URL in message and 'no network' in message
    assert f'{tmp_path}/tiny-imagenet-200/train' in message
    with pytest.raises(FileNotFoundError, match='no train and val in'):
        TinyImageNet(data_root=str(tmp_path), download=False)
    with pytest.raises(ValueError, match="split must be .* got 'test'"):
        TinyImageNet(data_root=str(tmp_path), split='test')


def test_archive_is_unpacked_once(root, monkeypatch, tmp_path):
    target = tmp_path / 'target'
    archive = Path(shutil.make_archive(
        str(target / labelled_sets.NAME), 'zip', root.parent, root.name))
    monkeypatch.setattr(labelled_sets, 'MD5',
                        hashlib.md5(archive.read_bytes()).hexdigest())
    assert len(TinyImageNet(data_root=str(target))) == 6
    archive.unlink()
    assert len(TinyImageNet(data_root=str(target), split='val')) == 6
    assert not list((target / 'unpacking').iterdir())
