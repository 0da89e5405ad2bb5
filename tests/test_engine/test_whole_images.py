"""The whole images that a refresh of the maps shows."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from image_bytes import encode, noise
from mmcv.transforms import LoadImageFromFile, Resize

from amt_mm.datasets import ImageFolder
from amt_mm.engine.whole_images import whole_images

CROP = dict(scale=(24, 32), backend='pillow', interpolation='bicubic')
TAIL = [dict(type='RandomFlip', prob=0.5),
        dict(type='mmpretrain.PackInputs')]


def _whole(root: Path, *steps: dict) -> ImageFolder:
    return whole_images(ImageFolder(str(root), pipeline=[*steps, *TAIL]))


TWO_STEPS = [dict(type='amt_mm.LoadImage'),
             dict(type='amt_mm.RandomResizedCropWithBox', **CROP)]
ONE_STEP = dict(type='amt_mm.LoadResizedCrop', crop=CROP)


def test_pixels_are_those_of_a_plain_resize(jpeg_folder: Path) -> None:
    plain = _whole(jpeg_folder, dict(type='amt_mm.SeedSample'), *TWO_STEPS)
    resize = Resize((32, 24), backend='pillow', interpolation='bicubic')
    for index in range(len(plain)):
        path = plain.get_data_info(index)['img_path']
        expected = resize(LoadImageFromFile()(dict(img_path=path)))['img']
        sample = plain[index]
        assert sample['sample_idx'] == index
        np.testing.assert_array_equal(
            sample['inputs'].numpy(), expected.transpose(2, 0, 1))


def test_a_reduced_decode_serves_the_refresh_too(tmp_path: Path) -> None:
    (tmp_path / 'x.jpg').write_bytes(
        encode(noise(300, 420), 'JPEG', quality=95))
    one, two = (_whole(tmp_path, *steps)[0]['inputs'].numpy()
                for steps in ([ONE_STEP], TWO_STEPS))
    assert one.shape == two.shape == (3, 24, 32)
    difference = np.abs(one.astype(int) - two)
    assert 0 < difference.mean() < 1.5
