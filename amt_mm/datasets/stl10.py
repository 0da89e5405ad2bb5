"""STL-10: few labelled images and many without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from torchvision.datasets import STL10 as Reader

from amt_mm.registry import DATASETS

from .download import open_or_download


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
        if split not in Reader.splits:
            raise ValueError(
                f'split must be one of {Reader.splits}, got {split!r}.')
        self.split = split
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
        samples = [
            dict(img_path=f'{self.split}/{row}', row=row)
            for row in range(len(reader.data))
        ]
        if 'unlabeled' not in self.split:
            for sample, label in zip(samples, reader.labels, strict=True):
                sample['gt_label'] = int(label)
        return samples

    def get_data_info(self, idx: int) -> dict:
        """Return a sample with its image, (96, 96, 3) RGB."""
        info = super().get_data_info(idx)
        image = self.images[info.pop('row')]
        return dict(
            info, img=np.ascontiguousarray(image.transpose(1, 2, 0)))
