"""Maps that are not the model's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from amt_mm.engine.sources import (
    BoxSaliency,
    CentreSaliency,
    CornerSaliency,
    ModelSaliency,
    RandomSaliency,
)


def maps_of(source, dataset, grid=(4, 6), number=3):
    source.setup(None, dataset, grid)
    batch = dict(sample_idx=torch.arange(number))
    (index, maps), = source.maps([batch])
    assert index.tolist() == list(range(number))
    assert maps.shape == (number, *grid)
    return maps


def test_the_centre_is_that_of_the_map():
    maps = maps_of(CentreSaliency(), None, (5, 7))
    assert (maps == maps[0]).all()
    assert np.unravel_index(maps[0].argmax(), (5, 7)) == (2, 3)


def test_noise_stays_and_differs_by_image_and_seed():
    maps = maps_of(RandomSaliency(), None)
    assert torch.equal(maps, maps_of(RandomSaliency(), None))
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps, maps_of(RandomSaliency(1), None))
    assert maps.min() >= 0 and maps.max() < 1


class Photos:
    """A data set of two images with names."""

    def __init__(self, root, names):
        self.data_root, self.names = str(root), names

    def __len__(self):
        return len(self.names)

    def get_data_info(self, index):
        return dict(img_path=f'{self.data_root}/{self.names[index]}')


@pytest.fixture
def photos(tmp_path):
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (60, 40)).save(tmp_path / name)
    (tmp_path / 'boxes.txt').write_text('a.png 10 0 25 20\n')
    return Photos(tmp_path, ['a.png', 'b.png'])


def test_boxes_count_as_far_as_they_reach(photos, tmp_path):
    source = BoxSaliency(str(tmp_path / 'boxes.txt'), outside=.2)
    boxed, without = maps_of(source, photos, (4, 6), 2)
    expected = torch.full((4, 6), .2)
    expected[:2, 1] = 1.
    expected[:2, 2] = .6  # half of the token
    torch.testing.assert_close(boxed, expected)
    assert (without == 1).all()


def test_boxes_of_other_images_are_refused(photos, tmp_path):
    photos.names = ['c.png', 'd.png']
    with pytest.raises(ValueError, match=r'boxes of .*c.png'):
        maps_of(BoxSaliency(str(tmp_path / 'boxes.txt')), photos, number=2)


def test_the_corner_fills_the_map(monkeypatch):
    whole = torch.arange(2 * 14 * 14.).view(2, 14, 14)
    monkeypatch.setattr(ModelSaliency, 'maps',
                        lambda self, loader: [(torch.arange(2), whole)])
    (_, maps), = CornerSaliency(share=1 / 7).maps(SimpleNamespace())
    assert maps.shape == (2, 14, 14)
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        block = maps[0, 7 * corner[0]:, 7 * corner[1]:][:7, :7]
        assert (block == whole[0][corner]).all()
