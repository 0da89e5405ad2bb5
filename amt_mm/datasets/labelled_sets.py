"""Labelled data sets that are downloaded where they are absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from mmengine import dist
from mmpretrain.datasets import BaseDataset, CustomDataset
from mmpretrain.datasets.custom import find_folders, get_samples
from torchvision.datasets import STL10 as Reader
from torchvision.datasets.utils import download_and_extract_archive

from amt_mm.arguments import check_choice
from amt_mm.registry import DATASETS

T = TypeVar('T')
NAME = 'tiny-imagenet-200'
URL = f'http://cs231n.stanford.edu/{NAME}.zip'
MD5 = '90528d7ca1a48142e341f4ef8d21d0de'
SPLITS = ('train', 'val')


def open_or_download(open_: Callable[[bool], T], message: str) -> T:
    """Open a data set, first in the main process, which may download it."""
    is_main = dist.is_main_process()
    if not is_main:
        dist.barrier()
    try:
        return open_(is_main)
    except Exception as error:
        raise FileNotFoundError(f'{message}\nThe cause: {error!r}') from error
    finally:
        if is_main:  # the others wait for it, whatever happened
            dist.barrier()


@DATASETS.register_module()
class STL10(BaseDataset):
    """`STL-10 <https://cs.stanford.edu/~acoates/stl10/>`_, 96x96 pixels.

    A sample is what mmpretrain's ``CIFAR10`` gives: ``img`` (96, 96, 3) uint8
    RGB and ``gt_label``, besides ``img_path``, a name that tells the images
    apart. A pipeline needs no ``LoadImageFromFile``; steps that count on BGR
    want ``NumpyToPIL`` and ``PILToNumpy(to_bgr=True)`` before them.

    Splits: ``'train'`` (5,000 images), ``'test'`` (8,000); for pre-training,
    and therefore without labels, ``'unlabeled'`` (100,000) and
    ``'train+unlabeled'``.

    Args:
        data_root (str): Folder that holds ``stl10_binary/``.
        split (str): One of the splits above. Defaults to ``'train'``.
        download (bool): Whether to download the 2.6 GB if they are absent.
            Defaults to True.
        **kwargs: Those of :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: If there is no such split.
        FileNotFoundError: If the files are absent or broken and could not be
            downloaded.
    """

    METAINFO = {
        'classes': ('airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse',
                    'monkey', 'ship', 'truck')
    }

    def __init__(self,
                 data_root: str = '',
                 split: str = 'train',
                 download: bool = True,
                 **kwargs: Any) -> None:
        self.split = check_choice('split', split, Reader.splits)
        self.download = download
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the images and list their labels."""
        reader = open_or_download(
            lambda is_main: Reader(
                self.data_root,
                self.split,
                download=self.download and is_main),
            f'STL-10 is not complete in {self.data_root}. To place it by '
            f'hand, unpack {Reader.url} there, so that {self.data_root}/'
            f'{Reader.base_folder}/train_X.bin exists, or point data_root to '
            'where it is.')
        # (N, 3, 96, 96), kept out of the list, which mmengine pickles
        self.images = reader.data
        labelled = 'unlabeled' not in self.split
        return [
            dict(img_path=f'{self.split}/{row}', row=row,
                 **(dict(gt_label=int(label)) if labelled else {}))
            for row, label in enumerate(reader.labels)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return a sample with its image, (96, 96, 3) RGB."""
        info = super().get_data_info(idx)
        image = self.images[info.pop('row')]
        return dict(
            info, img=np.ascontiguousarray(image.transpose(1, 2, 0)))


@DATASETS.register_module()
class TinyImageNet(CustomDataset):
    """Tiny ImageNet: 100,000 training and 10,000 validation images.

    The layout is the official one, ``train/WNID/images/*.JPEG`` and
    ``val/images/*.JPEG`` with ``val/val_annotations.txt``; a validation set
    with a folder per class is read as well. The classes are the sorted names
    of the folders in ``train``.

    Args:
        data_root (str): Folder that holds ``tiny-imagenet-200/``, or is it.
        split (str): ``'train'`` or ``'val'``. Defaults to ``'train'``.
        download (bool): Whether to download the 237 MB if they are absent.
            Defaults to True.
        **kwargs: Those of :class:`mmpretrain.datasets.CustomDataset`.

    Raises:
        ValueError: If there is no such split.
        FileNotFoundError: If the images are absent and could not be
            downloaded.
    """

    def __init__(self,
                 data_root: str = '',
                 split: str = 'train',
                 download: bool = True,
                 **kwargs: Any) -> None:
        self.split = check_choice('split', split, SPLITS)
        self.download = download
        super().__init__(
            data_root=data_root,
            extensions=('.jpeg', '.jpg', '.png'),
            **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the folder, the classes and the images."""
        folder = open_or_download(
            self._open,
            f'Tiny ImageNet is not in {self.data_root}. To place it by hand, '
            f'unpack {URL} there, so that {self.data_root}/{NAME}/train '
            'exists, or point data_root to where it is.')
        self.data_prefix['img_path'] = str(folder / self.split)
        classes, self.folder_to_idx = find_folders(str(folder / 'train'))
        self._metainfo.setdefault('classes', tuple(classes))
        return super().load_data_list()

    def _open(self, is_main_process: bool) -> Path:
        """Return the folder of the splits, downloaded if need be."""
        root = Path(self.data_root).expanduser()
        folders = (root, root / NAME)
        held = [*filter(_is_complete, folders)]
        if self.download and is_main_process and not held:
            # moved when whole: what a killed run leaves is not taken for it
            download_and_extract_archive(URL, root, root / 'unpacking',
                                         md5=MD5)
            held = [(root / 'unpacking' / NAME).rename(root / NAME)]
        if not held:
            raise FileNotFoundError(f'no {" and ".join(SPLITS)} in {root}')
        return held[0]

    def _find_samples(self) -> list[tuple[str, int]]:
        """List file names below the split and their labels."""
        folder = Path(self.img_prefix)
        if self.split == 'val' and (folder / 'images').is_dir():
            lines = (folder / 'val_annotations.txt').read_text().splitlines()
            pairs = (line.split('\t')[:2] for line in lines)
            return [(f'images/{name}', self.folder_to_idx[wnid])
                    for name, wnid in pairs]
        samples, _ = get_samples(self.img_prefix, self.folder_to_idx,
                                 self.is_valid_file)
        return samples


def _is_complete(folder: Path) -> bool:
    return all((folder / split).is_dir() for split in SPLITS)
