"""The data of the shipped plans, made from the official files."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import (
    read_images,
    without_checksums,
    write_cifar,
    write_tiny_imagenet,
)
from mmengine.registry import init_default_scope
from mmpretrain.datasets import CIFAR10
from PIL import Image

from amt_mm.evaluation import masks_from_boxes
from projects.study import read_study
from projects.study.data import write_cifar10, write_tiny_imagenet40

WNIDS = [f'n{number:03}' for number in range(200)]


@pytest.fixture
def official(tmp_path):
    """Tiny ImageNet with an image a class, and a box for each image."""
    picture = tmp_path / 'picture.jpg'
    Image.new('RGB', (64, 64), (200, 10, 10)).save(picture)
    root = tmp_path / 'source' / 'tiny-imagenet-200'
    write_tiny_imagenet(root, {wnid: [picture] for wnid in WNIDS})
    for number, wnid in enumerate(WNIDS):
        (root / 'train' / wnid / f'{wnid}_boxes.txt').write_text(
            f'{wnid}_0.JPEG\t{number // 5}\t8\t63\t32\n')
    return root


@pytest.fixture
def plans(pytestconfig):
    init_default_scope('mmpretrain')
    return pytestconfig.rootpath / 'configs' / 'study'


def test_tiny_imagenet40(official, plans, tmp_path):
    out = tmp_path / 'out'
    write_tiny_imagenet40(official.parent, out)
    study = read_study(plans / 'tiny-imagenet40_cpu.yaml', tmp_path, str(out))
    study.check_data()
    for split in ('train', 'val'):
        names = {path.relative_to(out / split).as_posix()
                 for path in (out / split).glob('*/*')}
        assert names == {f'{wnid}/{wnid}_0.JPEG' for wnid in WNIDS[::5]}
        boxes = (out / f'{split}_boxes.txt').read_text().splitlines()
        assert {line.split()[0] for line in boxes} == names
        assert all(path.is_file() and not path.is_symlink()
                   for path in (out / split).glob('*/*'))
    assert (out / 'train_boxes.txt').read_text().splitlines()[2] == (
        'n010/n010_0.JPEG 2 8 63 32')
    # as the oracle reads them
    masks = masks_from_boxes(out / 'train', out / 'train_boxes.txt')
    mask = masks[out / 'train/n010/n010_0.JPEG']
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min()) == (2, 8)
    assert len(masks) == 40


def test_tiny_imagenet_that_is_not_whole(official, tmp_path):
    (official / 'train' / 'n005' / 'n005_boxes.txt').write_text('')
    with pytest.raises(ValueError, match=r'n005_0\.JPEG must have a box'):
        write_tiny_imagenet40(official, tmp_path / 'out')
    (official / 'train' / 'n199').rename(tmp_path / 'n199')
    with pytest.raises(ValueError, match='200 classes .* got 199'):
        write_tiny_imagenet40(official, tmp_path / 'out')


def test_cifar10(monkeypatch, plans, tmp_path):
    without_checksums(monkeypatch, CIFAR10)
    images = np.random.default_rng(0).integers(
        0, 256, (3, 32, 32, 3), dtype=np.uint8)
    write_cifar(tmp_path / 'source', CIFAR10, images, [3, 0, 9])
    write_cifar10(tmp_path / 'source', tmp_path / 'out')
    read_study(plans / 'cifar10_cpu.yaml', tmp_path,
               str(tmp_path / 'out')).check_data()
    found = sorted((tmp_path / 'out' / 'test').glob('*/*'))
    assert [path.parent.name for path in found] == [
        'airplane', 'cat', 'truck']
    np.testing.assert_array_equal(
        read_images(found, 32), images[[1, 0, 2]])
    assert len(list((tmp_path / 'out' / 'train').glob('*/*'))) == 15


def test_both_tools_say_what_is_absent(plans, tmp_path, tool):
    plan = plans / 'tiny-imagenet40_cpu.yaml'
    done = tool('study', plan, cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'error: data.root must hold data.train, got no data/tiny_' in (
        done.stderr)
    assert 'tools/make_study_data.py' in done.stderr
    (tmp_path / 'file').touch()
    done = tool('make_study_data', 'cifar10', '--source', 'file', cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'error: CIFAR-10 is not in file. To place it by' in done.stderr
    assert 'The cause: FileExistsError' in done.stderr
