"""mmpretrain's own data sets, which do not skip, with our transform."""
from __future__ import annotations

import pytest
from image_bytes import encode, noise
from mmpretrain.datasets import CustomDataset

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.transforms import UnreadableImageError
from amt_mm.evaluation.features import labels_of

LOAD = [dict(type='amt_mm.LoadImage')]


@pytest.fixture
def data(tmp_path):
    """Return a folder of two classes, with one damaged file in the second."""
    for name in ('cat/a.png', 'dog/b.png'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encode(noise(), 'PNG'))
    (tmp_path / 'dog' / 'cut.png').write_bytes(encode(noise(), 'PNG')[:-9])
    return tmp_path


@pytest.mark.parametrize('ann_file', ['', 'list.txt'])
@pytest.mark.parametrize('test_mode', [True, False])
def test_the_error_names_the_file(data, ann_file, test_mode):
    (data / 'list.txt').write_text(
        'cat/a.png 0\ndog/b.png 1\ndog/cut.png 1\n')
    dataset = CustomDataset(data_root=str(data), ann_file=ann_file,
                            pipeline=LOAD, test_mode=test_mode)
    assert [dataset[i]['gt_label'] for i in range(2)] == [0, 1]
    with pytest.raises(UnreadableImageError, match=r'dog/cut.png: .*cut off'):
        dataset[2]


def test_labels_that_are_missing(data):
    with pytest.raises(ValueError, match=(
            r'each image of ImageFolder must have one class, gt_label >= 0; '
            r'.*cat/a.png has None')):
        labels_of(ImageFolder(str(data)))
