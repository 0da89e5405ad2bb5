"""Any folder of images: what is listed, decoded, skipped and reported."""
from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset.utils import default_collate
from mmengine.logging import MMLogger
from PIL import Image
from torch.utils.data import DataLoader

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.training_set import sample_paths
from amt_mm.datasets.transforms import UnreadableImageError
from amt_mm.registry import DATASETS

LOAD = [dict(type='amt_mm.LoadImage')]
# red, green, blue, yellow from the top left, in RGB
COLOURS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200],
                    [220, 220, 60]])
HEIGHT, WIDTH = 32, 48


def _picture() -> Image.Image:
    """Four colours, one a quarter, so that every turn of it shows."""
    quarters = COLOURS.reshape(2, 2, 3).astype(np.uint8)
    return Image.fromarray(
        quarters.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1))


def _folder(root: Path, **kwargs) -> ImageFolder:
    # serialising the list collects garbage, which takes most of a test
    return ImageFolder(
        str(root), pipeline=LOAD, **{'serialize_data': False, **kwargs})


def _names(dataset: ImageFolder, root: Path) -> list[str]:
    return [str(Path(dataset.get_data_info(i)['img_path']).relative_to(root))
            for i in range(len(dataset))]


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize('suffix', [
    '.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('orientation', TURNS)
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int,
                                    suffix: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = _picture().transpose(TURNS[orientation])
    stored.save(tmp_path / f'turned{suffix}', exif=exif)
    image = _folder(tmp_path)[0]['img']
    assert image.shape == (HEIGHT, WIDTH, 3)
    corners = image[8:-4:16, 12:-4:24, ::-1].reshape(4, 3)
    assert np.abs(corners - COLOURS).max() <= 8


def test_nested_folders_in_a_fixed_order(tmp_path: Path) -> None:
    names = ['b.jpg', 'a/z.png', 'a/b/c/d/deep.JPG', 'A/x.webp', '0.bmp',
             'with space/ü.jpeg']
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        _picture().save(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'fake.jpg.part').write_text('no image')
    dataset = _folder(tmp_path)
    assert sorted(_names(dataset, tmp_path)) == sorted(names)
    assert _names(dataset, tmp_path) == _names(_folder(tmp_path), tmp_path)
    assert [dataset[i]['img'].shape for i in range(6)] == [
        (HEIGHT, WIDTH, 3)] * 6


def test_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    (tmp_path / '.thumbnails').mkdir()
    for name in ('._seen.jpg', '.thumbnails/seen.jpg', 'seen.jpg'):
        _picture().save(tmp_path / name)
    assert _names(_folder(tmp_path), tmp_path) == ['seen.jpg']


def test_extensions_are_chosen(jpeg_folder: Path) -> None:
    _picture().save(jpeg_folder / 'x.png')
    try:
        assert len(_folder(jpeg_folder)) == 9
        assert len(_folder(jpeg_folder, extensions=['.PNG'])) == 1
    finally:
        (jpeg_folder / 'x.png').unlink()


def test_no_labels_even_with_class_folders(tmp_path: Path) -> None:
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        _picture().save(tmp_path / name / '0.png')
    dataset = DATASETS.build(
        dict(type='amt_mm.ImageFolder', data_root=str(tmp_path)))
    assert 'gt_label' not in dataset.get_data_info(0)


def test_list_in_a_file(jpeg_folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'train.txt').write_text('2.jpg\nbelow/7.jpg')
    dataset = _folder(jpeg_folder, ann_file=str(tmp_path / 'train.txt'))
    assert _names(dataset, jpeg_folder) == ['2.jpg', 'below/7.jpg']


# ---- files that cannot be read


def _cut_off() -> bytes:
    content = io.BytesIO()
    _picture().save(content, 'JPEG')
    return content.getvalue()[:-100]


def test_broken_file_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / 'broken.jpg').write_bytes(_cut_off())
    dataset = _folder(tmp_path, on_unreadable='raise')
    with pytest.raises(UnreadableImageError, match='read .*/broken.jpg: '):
        dataset[0]
    assert not dataset.unreadable.any()


def test_broken_file_is_skipped_and_flagged(tmp_path: Path) -> None:
    np.random.seed(0)
    for name in 'ac':
        _picture().save(tmp_path / f'{name}.png')
    (tmp_path / 'b.jpg').write_bytes(_cut_off())
    dataset = _folder(tmp_path)
    paths = _names(dataset, tmp_path)
    bad = paths.index('b.jpg')
    assert not dataset.unreadable.any()
    samples = [dataset[i] for i in range(3)]
    assert dataset.unreadable.nonzero().flatten().tolist() == [bad]
    shown = [Path(sample['img_path']).name for sample in samples]
    assert [shown[i] for i in range(3) if i != bad] == ['a.png', 'c.png']
    assert shown[bad] != 'b.jpg' and samples[bad]['sample_idx'] != bad


def test_seeded_samples_do_not_hand_over_to_each_other_for_ever(
        tmp_path: Path) -> None:
    """Seeding makes the draw of another sample the same at each try."""
    _picture().save(tmp_path / 'a.png')
    for name in 'bcd':
        (tmp_path / f'{name}.png').write_bytes(b'')
    seeding = dict(type='amt_mm.SeedSample')
    dataset = ImageFolder(str(tmp_path), pipeline=[seeding, *LOAD],
                          serialize_data=False)
    for epoch in range(100):
        dataset.pipeline.transforms[0].set(0, epoch)
        for index in range(4):
            assert dataset[index]['img_path'].endswith('a.png')


def test_the_same_sample_takes_the_place_in_the_same_epoch(
        tmp_path: Path) -> None:
    for name in 'abcdef':
        _picture().save(tmp_path / f'{name}.png')
    (tmp_path / 'x.png').write_bytes(b'')
    seeding = dict(type='amt_mm.SeedSample')
    shown = []
    for before in ([], [0, 6, 3]):
        dataset = ImageFolder(str(tmp_path), pipeline=[seeding, *LOAD],
                              serialize_data=False)
        dataset.pipeline.transforms[0].set(0, 0)
        [dataset[index] for index in before]
        shown.append([])
        for epoch in range(20):
            dataset.pipeline.transforms[0].set(0, epoch)
            shown[-1].append(dataset[6]['sample_idx'])
    assert shown[0] == shown[1]
    assert len(set(shown[0])) > 3


def test_a_file_that_went_missing_is_unreadable(tmp_path: Path) -> None:
    for name in 'ab':
        _picture().save(tmp_path / f'{name}.png')
    dataset = _folder(tmp_path, on_unreadable='raise')
    (tmp_path / 'a.png').unlink()
    with pytest.raises(UnreadableImageError, match='a.png'):
        [dataset[i] for i in range(2)]


def test_flags_set_in_workers_are_seen(tmp_path: Path) -> None:
    for name in 'abcdef':
        _picture().save(tmp_path / f'{name}.png')
    for name in ('x.jpg', 'y.jpg'):
        (tmp_path / name).write_bytes(_cut_off())
    dataset = _folder(tmp_path, serialize_data=True)
    bad = [i for i, n in enumerate(_names(dataset, tmp_path))
           if n.endswith('.jpg')]
    loader = DataLoader(
        dataset, 2, num_workers=2, collate_fn=lambda batch: len(batch),
        multiprocessing_context='fork')
    assert sum(loader) == 8
    assert dataset.unreadable.nonzero().flatten().tolist() == bad


def test_the_pipelines_own_errors_are_not_skipped(jpeg_folder: Path) -> None:
    steps = [*LOAD, dict(type='amt_mm.AMTMaskGenerator', input_size=64)]
    dataset = ImageFolder(str(jpeg_folder), pipeline=steps)
    with pytest.raises(ValueError, match='no saliency store'):
        dataset[0]
    assert not dataset.unreadable.any()


def test_packed_samples_collate(jpeg_folder: Path) -> None:
    steps = [*LOAD, dict(type='mmpretrain.ResizeEdge', scale=32),
             dict(type='mmpretrain.CenterCrop', crop_size=32),
             dict(type='mmpretrain.PackInputs')]
    dataset = ImageFolder(str(jpeg_folder), pipeline=steps)
    batch = default_collate([dataset[i] for i in range(8)])
    assert batch['inputs'].shape == (8, 3, 32, 32)
    assert [s.sample_idx for s in batch['data_samples']] == list(range(8))


@pytest.mark.parametrize('highest, white, said', [
    (4095, 65535, 'dark'), (65535, 65535, ''), (40000, 65535, ''),
    (4095, 4095, ''), (5000, 4095, 'clipped')])
def test_levels_that_do_not_fill_16_bits_are_told_once(
        tmp_path, caplog, highest, white, said):
    levels = np.linspace(7, highest, 24 * 32).astype(np.uint16)
    for i in range(10):
        Image.fromarray(levels.reshape(24, 32)).save(tmp_path / f'{i:02}.png')
    Image.new('RGB', (32, 24)).save(tmp_path / '00.jpg')
    (tmp_path / '01.png').write_bytes(b'')
    logger = MMLogger.get_instance(f'levels_{highest}_{white}_{said}')
    logger.addHandler(caplog.handler)
    steps = [dict(type='amt_mm.SeedSample'),
             dict(type='amt_mm.LoadImage', white_level=white)]
    dataset = ImageFolder(str(tmp_path), pipeline=steps, lazy_init=True)
    assert 'white_level' not in caplog.text
    dataset.full_init()
    dataset.full_init()  # as the runner calls it once more
    logger.removeHandler(caplog.handler)
    messages = [m for m in caplog.messages if 'white_level' in m]
    assert len(messages) == bool(said)
    if said:
        fits = dict(dark=4095, clipped=8191)[said]
        assert messages == [
            f'6 of the first 8 images have 16 bits, with levels of 7 to '
            f'{highest:,}; white_level {white:,} is white, so they come out '
            f'{said}. Set pipeline.1.white_level={fits} of LoadImage to make '
            f'level {fits:,} white.']


# ---- several folders, and folders that are not what was meant


def test_several_folders_are_as_one_that_holds_them(tmp_path: Path) -> None:
    for name in ('b/z', 'a', 'b/c'):
        (tmp_path / 'all' / name).mkdir(parents=True)
        for i in range(3):
            _picture().save(tmp_path / 'all' / name / f'{i}.png')
    one = ImageFolder(str(tmp_path / 'all'), pipeline=LOAD)
    several = ImageFolder(
        [str(tmp_path / 'all' / 'b'), str(tmp_path / 'all' / 'a')],
        pipeline=LOAD)
    assert [*sample_paths(several)] == [*sample_paths(one)]
    assert sum(1 for _ in sample_paths(one)) == 9
    assert several[0]['img_path'] == one[0]['img_path']


@pytest.mark.parametrize('changes, error, message', [
    ({}, ValueError, 'must name folders that do not hold each other, got'),
    (dict(data_root=['a', 'missing']), FileNotFoundError, 'which is no fold'),
    (dict(data_root=['a', 'b'], ann_file='x.txt'), ValueError,
     "ann_file must be empty for several data_root, got 'x.txt'"),
    (dict(data_root=[]), FileNotFoundError, "got '', which is no folder"),
])
def test_several_folders_that_cannot_be(tmp_path: Path, monkeypatch,
                                        changes, error, message) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('a/b', 'b'):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(error, match=message):
        ImageFolder(**{'data_root': ['a', 'a/b'], **changes})


@pytest.mark.parametrize('content, message', [
    (lambda i, image: image, '32 images looked at in .*, 32 are the same'),
    (lambda i, image: image if i == 0 else b'text',
     '32 images looked at in .*, 1 can be read'),
    (lambda i, image: image + bytes([i]), None)])
def test_a_folder_that_is_not_what_was_meant(tmp_path: Path, content, message,
                                             caplog) -> None:
    file = io.BytesIO()
    _picture().save(file, 'JPEG')
    for i in range(40):
        (tmp_path / f'{i:02d}.jpg').write_bytes(content(i, file.getvalue()))
    logger = MMLogger.get_instance('contents', log_level='WARNING')
    MMLogger._instance_dict.move_to_end('contents')  # the current one
    logger.addHandler(caplog.handler)
    _folder(tmp_path)
    found = ' '.join(record.getMessage() for record in caplog.records)
    told = bool(re.search(message or 'looked at', found))
    assert told == bool(message), found
