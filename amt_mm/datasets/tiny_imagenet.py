"""Tiny ImageNet: 200 classes of ImageNet at 64x64 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.custom import find_folders, get_samples
from torchvision.datasets.utils import download_and_extract_archive

from amt_mm.registry import DATASETS

from .download import open_or_download

NAME = 'tiny-imagenet-200'
URL = f'http://cs231n.stanford.edu/{NAME}.zip'
MD5 = '90528d7ca1a48142e341f4ef8d21d0de'
SPLITS = ('train', 'val')


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
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
        self.split = split
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
        if (self.download and is_main_process
                and not any(map(_is_complete, folders))):
            # moved when whole: what a killed run leaves is not taken for it
            download_and_extract_archive(URL, root, root / 'unpacking',
                                         md5=MD5)
            (root / 'unpacking' / NAME).rename(root / NAME)
        for folder in folders:
            if _is_complete(folder):
                return folder
        raise FileNotFoundError(f'no {" and ".join(SPLITS)} in {root}')

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
