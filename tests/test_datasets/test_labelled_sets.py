"""STL-10, Tiny ImageNet, mmpretrain's own sets, and who downloads."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as torch_dist
from data_files import without_checksums, write_stl10, write_tiny_imagenet
from image_bytes import encode, noise
from mmpretrain.datasets import CIFAR10, CustomDataset
from PIL import Image
from small_configs import LOAD
from torchvision.datasets import STL10 as Reader

from amt_mm.datasets import STL10, ImageFolder, TinyImageNet, labelled_sets
from amt_mm.datasets.labelled_sets import open_or_download
from amt_mm.datasets.transforms import UnreadableImageError
from amt_mm.evaluation.features import labels_of
from amt_mm.registry import DATASETS

LABELS = [3, 0, 9]
WNIDS = ('n02', 'n01', 'n03')


# ---- STL-10: rows, columns, channels, labels, splits


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    # wide, at the top left, red
    images[0, :10, :30] = (250, 10, 20)
    return images


@pytest.fixture
def stl10(images, monkeypatch, tmp_path):
    # the official checksums are in force unless a test lifts them
    write_stl10(tmp_path, images, LABELS, unlabeled=images[::-1][:2])
    with pytest.raises(FileNotFoundError, match='corrupted'):
        STL10(data_root=str(tmp_path), download=False)
    without_checksums(monkeypatch, Reader)
    return str(tmp_path)


def test_pixels_and_labels(stl10, images):
    # as the site has it: the first 96 bytes are the red of the first column
    raw = np.fromfile(f'{stl10}/stl10_binary/train_X.bin', np.uint8)
    np.testing.assert_array_equal(raw[:96], images[0, :, 0, 0])
    for split in ('train', 'test'):
        dataset = STL10(data_root=stl10, split=split)
        assert len(dataset) == 3 and len(dataset.CLASSES) == 10
        assert dataset.get_gt_labels().tolist() == LABELS
        for index, image in enumerate(images):
            np.testing.assert_array_equal(dataset[index]['img'], image)
    assert dataset[0]['img'][5, 25].tolist() == [250, 10, 20]
    # as a sample of CIFAR, so one pipeline serves both
    assert dataset[0]['img'].flags['C_CONTIGUOUS']
    assert isinstance(dataset[0]['gt_label'], int)
    assert CIFAR10.METAINFO['classes'][0] == STL10.METAINFO['classes'][0]
    subset = DATASETS.build(
        dict(type='amt_mm.STL10', data_root=stl10, indices=[2, 0]))
    np.testing.assert_array_equal(subset[0]['img'], images[2])
    assert [sample['gt_label'] for sample in subset] == [9, 3]


def test_images_without_labels_are_for_pre_training(stl10, images):
    unlabeled = STL10(data_root=stl10, split='unlabeled')
    assert len(unlabeled) == 2 and 'gt_label' not in unlabeled[0]
    np.testing.assert_array_equal(unlabeled[0]['img'], images[2])
    both = STL10(data_root=stl10, split='train+unlabeled')
    assert len(both) == 5
    assert not any('gt_label' in sample for sample in both)
    np.testing.assert_array_equal(both[3]['img'], images[2])
    assert len({sample['img_path'] for sample in both}) == 5


# ---- Tiny ImageNet, in the official layout and with a folder per class


@pytest.fixture
def tiny(tmp_path):
    """Three classes of two images each."""
    Image.new('RGB', (64, 64)).save(tmp_path / 'x.jpg')
    files = {wnid: [tmp_path / 'x.jpg'] * 2 for wnid in WNIDS}
    root = tmp_path / 'data' / 'tiny-imagenet-200'
    write_tiny_imagenet(root, files)
    (root / 'train' / 'n01' / 'n01_boxes.txt').write_text('no image')
    return root


@pytest.mark.parametrize('layout', ['train', 'val', 'folders'])
def test_layouts(tiny, layout):
    split = 'train' if layout == 'train' else 'val'
    if layout == 'folders':
        for wnid in WNIDS:
            (tiny / 'val' / wnid).mkdir()
            for path in (tiny / 'val' / 'images').glob(f'{wnid}_*'):
                path.rename(tiny / 'val' / wnid / path.name)
        (tiny / 'val' / 'images').rmdir()
    for root in (tiny, tiny.parent):  # it, or the folder above
        dataset = TinyImageNet(data_root=str(root), split=split,
                               pipeline=[dict(type='LoadImageFromFile')])
        assert dataset.CLASSES == ('n01', 'n02', 'n03')
        assert {Path(sample['img_path']).name: sample['gt_label']
                for sample in dataset} == {
            f'{wnid}_{i}.JPEG': label
            for label, wnid in enumerate(sorted(WNIDS)) for i in range(2)}
        assert dataset[0]['img'].shape == (64, 64, 3)


def test_archive_is_unpacked_once(tiny, monkeypatch, tmp_path):
    target = tmp_path / 'target'
    archive = Path(shutil.make_archive(
        str(target / labelled_sets.NAME), 'zip', tiny.parent, tiny.name))
    monkeypatch.setattr(labelled_sets, 'MD5',
                        hashlib.md5(archive.read_bytes()).hexdigest())
    assert len(TinyImageNet(data_root=str(target))) == 6
    archive.unlink()
    assert len(TinyImageNet(data_root=str(target), split='val')) == 6
    assert not list((target / 'unpacking').iterdir())


# ---- downloads


@pytest.mark.parametrize('kind, module, place, lacking', [
    (STL10, 'torchvision.datasets.stl10', 'stl10_binary/train_X.bin',
     ('stl10_binary.tar.gz', 'not found or corrupted')),
    (TinyImageNet, 'amt_mm.datasets.labelled_sets', f'{labelled_sets.NAME}/'
     'train', (labelled_sets.URL, 'no train and val in'))])
def test_absent_data_and_no_network(monkeypatch, tmp_path, kind, module,
                                    place, lacking):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(f'{module}.download_and_extract_archive', no_network)
    root = str(tmp_path / 'none')
    with pytest.raises(FileNotFoundError) as info:
        kind(data_root=root)
    for part in (lacking[0], 'no network', f'{root}/{place}'):
        assert part in str(info.value)
    with pytest.raises(FileNotFoundError, match=lacking[1]):
        kind(data_root=root, download=False)
    with pytest.raises(ValueError, match="split must be .* got 'x'"):
        kind(data_root=root, split='x')


def _rank(rank, folder, works):
    """Open a file that the main process downloads, or cannot."""
    def open_(is_main_process):
        if is_main_process and works:
            (folder / 'file').write_text('content')
        return (folder / 'file').read_text()

    torch_dist.init_process_group(
        'gloo', f'file://{folder}/meeting', rank=rank, world_size=2)
    try:
        result = open_or_download(open_, 'place it by hand')
    except FileNotFoundError as error:
        result = str(error)
    Path(folder, f'rank_{rank}').write_text(result)
    torch_dist.destroy_process_group()


@pytest.mark.parametrize('works', [True, False])
def test_other_processes_wait_for_the_download(works, tmp_path):
    context = multiprocessing.get_context('fork')
    ranks = [context.Process(target=_rank, args=(rank, tmp_path, works))
             for rank in range(2)]
    for process in ranks:
        process.start()
    for rank, process in enumerate(ranks):
        process.join(60)
        assert process.exitcode == 0
        result = (tmp_path / f'rank_{rank}').read_text()
        assert result.startswith('content' if works else 'place it by hand')


# ---- mmpretrain's own, which do not skip, with our transform


@pytest.mark.parametrize('ann_file', ['', 'list.txt'])
def test_the_error_names_the_file(tmp_path, ann_file):
    for name, end in (('cat/a', None), ('dog/b', None), ('dog/cut', -9)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f'{name}.png').write_bytes(encode(noise(), 'PNG')[:end])
    (tmp_path / 'list.txt').write_text(
        'cat/a.png 0\ndog/b.png 1\ndog/cut.png 1\n')
    dataset = CustomDataset(data_root=str(tmp_path), ann_file=ann_file,
                            pipeline=[LOAD])
    assert [dataset[i]['gt_label'] for i in range(2)] == [0, 1]
    with pytest.raises(UnreadableImageError, match=r'dog/cut.png: .*cut off'):
        dataset[2]
    with pytest.raises(ValueError, match=(
            r'each image of ImageFolder must have one class, gt_label >= 0; '
            r'.*cat/a.png has None')):
        labels_of(ImageFolder(str(tmp_path)))
