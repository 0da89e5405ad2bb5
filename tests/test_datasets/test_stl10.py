"""STL-10 in its binary format: rows, columns, channels, labels, splits."""

from __future__ import annotations

import urllib.error

import numpy as np
import pytest
from data_files import without_checksums, write_stl10
from mmpretrain.datasets import CIFAR10
from torchvision.datasets import STL10 as Reader

from amt_mm.datasets import STL10
from amt_mm.registry import DATASETS

LABELS = [3, 0, 9]


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    # wide, at the top left, red
    images[0, :10, :30] = (250, 10, 20)
    return images


@pytest.fixture
def root(images, monkeypatch, tmp_path):
    without_checksums(monkeypatch, Reader)
    write_stl10(tmp_path, images, LABELS, unlabeled=images[::-1][:2])
    return str(tmp_path)


def test_pixels_and_labels(root, images):
    for split in ('train', 'test'):
        dataset = STL10(data_root=root, split=split)
        assert len(dataset) == 3 and len(dataset.CLASSES) == 10
        assert dataset.get_gt_labels().tolist() == LABELS
        for index, image in enumerate(images):
            np.testing.assert_array_equal(dataset[index]['img'], image)
    assert dataset[0]['img'][5, 25].tolist() == [250, 10, 20]


def test_files_are_as_the_site_describes_them(root, images):
    """The first 96 bytes are the red of the first column, downwards."""
    raw = np.fromfile(f'{root}/stl10_binary/train_X.bin', np.uint8)
    np.testing.assert_array_equal(raw[:96], images[0, :, 0, 0])
    np.testing.assert_array_equal(raw[96 * 96:][:96], images[0, :, 0, 1])


def test_images_without_labels_are_for_pre_training(root, images):
    unlabeled = STL10(data_root=root, split='unlabeled')
    assert len(unlabeled) == 2 and 'gt_label' not in unlabeled[0]
    np.testing.assert_array_equal(unlabeled[0]['img'], images[2])
    both = STL10(data_root=root, split='train+unlabeled')
    assert len(both) == 5
    assert not any('gt_label' in sample for sample in both)
    np.testing.assert_array_equal(both[3]['img'], images[2])
    assert len({sample['img_path'] for sample in both}) == 5


def test_subset_keeps_image_and_label_together(root, images):
    dataset = DATASETS.build(
        dict(type='amt_mm.STL10', data_root=root, indices=[2, 0]))
    np.testing.assert_array_equal(dataset[0]['img'], images[2])
    assert [sample['gt_label'] for sample in dataset] == [9, 3]


def test_sample_is_like_that_of_cifar(root):
    """So one pipeline serves both."""
    sample = STL10(data_root=root)[0]
    assert sample['img'].dtype == np.uint8
    assert sample['img'].flags['C_CONTIGUOUS']
    assert isinstance(sample['gt_label'], int)
    assert CIFAR10.METAINFO['classes'][0] == STL10.METAINFO['classes'][0]


def test_absent_data_and_no_network(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('torchvision.datasets.stl10.'
                        'download_and_extract_archive', no_network)
    with pytest.raises(FileNotFoundError) as info:
        STL10(data_root=str(tmp_path / 'none'))
    message = str(info.value)
    assert 'stl10_binary.tar.gz' in message and 'no network' in message
    assert f'{tmp_path}/none/stl10_binary/train_X.bin' in message
    with pytest.raises(FileNotFoundError, match='not found or corrupted'):
        STL10(data_root=str(tmp_path / 'none'), download=False)
    with pytest.raises(ValueError, match="split must be .* got 'val'"):
        STL10(data_root=str(tmp_path), split='val')


def test_broken_file_is_not_read(images, tmp_path):
    """The official checksums are in force unless a test lifts them."""
    write_stl10(tmp_path, images, LABELS)
    with pytest.raises(FileNotFoundError, match='corrupted'):
        STL10(data_root=str(tmp_path), download=False)
