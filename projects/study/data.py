"""Write the data of the plans that come with the project."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mmpretrain.datasets import CIFAR10
from PIL import Image

from amt_mm.atomic_write import replacing
from amt_mm.datasets import TinyImageNet
from amt_mm.datasets.labelled_sets import open_or_download

CLASSES = 200  # of Tiny ImageNet
EVERY = 5  # of these is taken


def write_tiny_imagenet40(source: Path, root: Path) -> None:
    """Write every fifth class of Tiny ImageNet, with the boxes of its objects.

    These are ``train/WNID/*.JPEG``, 500 a class, and ``val/WNID/*.JPEG``, 50 a
    class. ``train_boxes.txt`` and ``val_boxes.txt`` have a line ``WNID/NAME x0
    y0 x1 y1`` for each, in pixels of its 64 x 64.

    Args:
        source (Path): Folder that holds ``tiny-imagenet-200/`` in the official
            layout, or is it; downloaded to it, 237 MB, if absent.
        root (Path): Folder to write to.

    Raises:
        FileNotFoundError: If the images, or the files with their boxes, are
            absent and could not be downloaded.
        ValueError: If there are not 200 classes, or an image has no box.
    """
    for split, read_boxes in (('train', _train_boxes), ('val', _val_boxes)):
        images = TinyImageNet(data_root=str(source), split=split)
        classes = images.CLASSES
        if len(classes) != CLASSES:
            raise ValueError(f'{images.img_prefix} must have the {CLASSES} '
                             f'classes of Tiny ImageNet, got {len(classes)}.')
        boxes = dict(read_boxes(Path(images.img_prefix), classes[::EVERY]))
        lines = []
        for number in range(len(images)):
            info = images.get_data_info(number)
            path, label = Path(info['img_path']), info['gt_label']
            if label % EVERY:
                continue
            if path.name not in boxes:
                raise ValueError(f'{path} must have a box, got none.')
            name = f'{classes[label]}/{path.name}'
            target = root / split / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            lines.append(f'{name} {boxes[path.name]}\n')
        with replacing(root / f'{split}_boxes.txt') as file:
            file.write(''.join(lines).encode())


def write_cifar10(source: Path, root: Path) -> None:
    """Write CIFAR-10 as ``train/CLASS/*.png`` and ``test/CLASS/*.png``.

    Args:
        source (Path): Folder that holds ``cifar-10-batches-py/``; downloaded
            to it, 170 MB, if absent.
        root (Path): Folder to write to.

    Raises:
        FileNotFoundError: If the files are absent or broken and could not be
            downloaded.
    """
    splits = open_or_download(
        lambda _: {split: CIFAR10(data_root=str(source), split=split)
                   for split in ('train', 'test')},
        f'CIFAR-10 is not in {source}. To place it by hand, unpack '
        f'{CIFAR10.url} there, so that {source}/{CIFAR10.base_folder} exists.')
    for split, images in splits.items():
        for number in range(len(images)):
            info = images.get_data_info(number)
            folder = root / split / images.CLASSES[info['gt_label']]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(info['img']).save(folder / f'{number:05}.png')


def _train_boxes(folder: Path,
                 classes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the names of training images and their boxes."""
    for wnid in classes:
        path = folder / wnid / f'{wnid}_boxes.txt'
        for line in path.read_text().splitlines():
            name, *box = line.split('\t')
            yield name, ' '.join(box)


def _val_boxes(folder: Path,
               classes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the names of the test images of some classes and their boxes."""
    path = folder / 'val_annotations.txt'
    for line in path.read_text().splitlines():
        name, wnid, *box = line.split('\t')
        if wnid in classes:
            yield name, ' '.join(box)


WRITERS: dict[str, Callable[[Path, Path], None]] = dict(
    tiny_imagenet40=write_tiny_imagenet40, cifar10=write_cifar10)
