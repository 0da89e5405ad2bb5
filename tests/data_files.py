"""Write images in the file formats of public data sets."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import STL10 as Reader

# N images, H height, W width


def without_checksums(monkeypatch, *classes):
    """Let the readers take files that are not the official ones."""
    for cls in classes:
        for name in ('train_list', 'test_list'):
            files = [[file, None] for file, _ in getattr(cls, name)]
            monkeypatch.setattr(cls, name, files)


def write_stl10(root, images, labels, unlabeled=None):
    """Write (N, 96, 96, 3) RGB images: planes, column by column."""
    folder = Path(root, Reader.base_folder)
    folder.mkdir(parents=True)
    for split in ('train', 'test'):
        images.transpose(0, 3, 2, 1).tofile(folder / f'{split}_X.bin')
        (np.asarray(labels, np.uint8) + 1).tofile(folder / f'{split}_y.bin')
    others = images if unlabeled is None else unlabeled
    others.transpose(0, 3, 2, 1).tofile(folder / 'unlabeled_X.bin')


def write_cifar(root, cls, images, labels):
    """Write (N, 32, 32, 3) RGB images into every file of a CIFAR class."""
    folder = Path(root, cls.base_folder)
    folder.mkdir(parents=True)
    key = 'labels' if 'fine' not in cls.meta['key'] else 'fine_labels'
    batch = dict(data=images.transpose(0, 3, 1, 2).reshape(len(images), -1))
    batch[key] = list(map(int, labels))
    for file, _ in cls.train_list + cls.test_list:
        (folder / file).write_bytes(pickle.dumps(batch))


def write_tiny_imagenet(root, files):
    """Write image files {class: paths} in the official layout."""
    lines = []
    for split in ('train', 'val'):
        for wnid, paths in files.items():
            folder = root / split / (
                f'{wnid}/images' if split == 'train' else 'images')
            folder.mkdir(parents=True, exist_ok=True)
            for number, path in enumerate(paths):
                name = f'{wnid}_{number}.JPEG'
                (folder / name).symlink_to(path)
                if split == 'val':
                    lines.append(f'{name}\t{wnid}\t0\t0\t62\t62\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(lines))


def write_imagenet(root, files, wnids):
    """Write image files {class: paths} into folders of all classes."""
    for split in ('train', 'val'):
        for wnid in wnids:
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for path in files.get(wnid, ()):
                (folder / Path(path).name).symlink_to(path)


def read_images(paths, size):
    """Read images as (N, H, W, 3) uint8 RGB of one size."""
    return np.stack([
        np.asarray(Image.open(path).convert('RGB').resize((size, size)))
        for path in paths
    ])


def unpack_some(archive, root, num_images, num_classes):
    """Unpack the first images of an archive's first classes, by class."""
    files = {}
    with tarfile.open(archive, 'r|xz') as tar:
        for member in tar:
            path = Path(root, member.name)
            if path.suffix.lower() not in ('.jpg', '.jpeg'):
                continue
            if path.parent.name not in files and len(files) == num_classes:
                return files
            paths = files.setdefault(path.parent.name, [])
            if len(paths) < num_images:
                tar.extract(member, root, filter='data')
                paths.append(path)
    return files
