"""Any folder of images: what is listed, decoded, skipped and reported."""
from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from image_bytes import encode, noise
from mmengine.logging import MMLogger
from PIL import Image
from small_configs import LOAD, SEED

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.training_set import sample_paths
from amt_mm.datasets.transforms import UnreadableImageError
from amt_mm.datasets.transforms.load_image import printable

PICTURE = encode(noise(), 'PNG')


def write(root, *names, content=PICTURE):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.fixture
def data(tmp_path):
    """Return a folder with two pictures, one in a folder below."""
    write(tmp_path / 'data', 'a.png', 'below/b.png')
    return tmp_path / 'data'


def folder(root, *steps, **kwargs):
    # serialising the list collects garbage, which takes most of a test
    return ImageFolder(root if isinstance(root, list) else str(root),
                       pipeline=[*steps, LOAD],
                       **{'serialize_data': False, **kwargs})


def names(dataset):
    return [os.path.relpath(dataset.get_data_info(i)['img_path'],
                            dataset.data_root) for i in range(len(dataset))]


@pytest.fixture
def warnings_of(caplog):
    """Return a function that reads what a logger, now in use, warned of."""
    logger = MMLogger.get_instance('image_folder', log_level='WARNING')
    MMLogger._instance_dict.move_to_end('image_folder')  # the current one
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records
                   if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


# ---- folders


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp'])
def test_exif_orientation_is_undone(tmp_path, suffix):
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200],
                        [220, 220, 60]])
    quarters = colours.reshape(2, 2, 3).astype(np.uint8)
    picture = Image.fromarray(quarters.repeat(16, 0).repeat(24, 1))
    turns = {2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM',
             5: 'TRANSPOSE', 6: 'ROTATE_90', 7: 'TRANSVERSE', 8: 'ROTATE_270'}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x112] = orientation
        picture.transpose(Image.Transpose[turn]).save(
            tmp_path / f'x{suffix}', exif=exif)
        image = folder(tmp_path)[0]['img']
        assert image.shape == (32, 48, 3)
        corners = image[8:-4:16, 12:-4:24, ::-1].reshape(4, 3)
        assert np.abs(corners - colours).max() <= 8, orientation


def test_nested_folders_and_links_in_a_fixed_order(tmp_path):
    listed = ['0.bmp', 'A/x.webp', 'a/b/c/d/deep.JPG', 'a/z.png', 'b.jpg',
              'with space/ü.jpeg']
    data = tmp_path / 'data'
    write(data, *listed, 'notes.txt', 'fake.jpg.part', '._seen.jpg',
          '.thumbnails/seen.jpg')
    write(tmp_path, 'elsewhere/c.png')
    (data / 'link').symlink_to(tmp_path / 'elsewhere')
    (data / 'd.png').symlink_to('a/z.png')
    listed[5:5] = ['d.png', 'link/c.png']
    dataset = folder(data)
    assert names(dataset) == names(folder(f'{data}/')) == listed
    assert names(folder(data, extensions=['.JPEG'])) == ['with space/ü.jpeg']
    assert [dataset[i]['img'].shape for i in range(8)] == [(48, 64, 3)] * 8
    assert 'gt_label' not in dataset.get_data_info(0)


def test_what_is_no_regular_file_is_listed_and_skipped(data):
    (data / 'dangling.png').symlink_to('nowhere')
    (data / 'device.png').symlink_to('/dev/zero')  # would never end
    (data / 'folder.png').mkdir()
    os.mkfifo(data / 'pipe.png')  # would wait for ever
    dataset = folder(data)
    assert names(dataset) == ['a.png', 'below/b.png', 'dangling.png',
                              'device.png', 'pipe.png']
    for index in range(5):
        assert dataset[index]['img'].shape == (48, 64, 3)
    assert dataset.unreadable.tolist() == [False, False, True, True, True]
    strict = folder(data, on_unreadable='raise')
    for index, why in ((2, 'No such file'), (3, 'not a regular file'),
                       (4, 'not a regular file')):
        with pytest.raises(UnreadableImageError, match=why):
            strict[index]
    assert not strict.unreadable.any()


@pytest.mark.parametrize('target', ['.', '../..', 'other'])
def test_a_link_that_leads_back(data, target, tmp_path):
    back = data / 'below' / 'back'
    if target == 'other':  # two links together
        (tmp_path / 'other').mkdir()
        (data / 'below' / 'out').symlink_to(tmp_path / 'other')
        back, target = tmp_path / 'other' / 'back', str(data / 'below')
    back.symlink_to(target)
    with pytest.raises(ValueError, match=(
            r'the link .*/back leads to a folder that it lies in')):
        folder(data)


def test_pictures_that_are_left_out_are_counted(data, warnings_of):
    write(data, 'x.gif', 'y.GIF', 'z.heic', 'notes.txt', '._a.gif')
    assert len(folder(data)) == 2
    text, = warnings_of()
    assert f'pictures of {data}/ left out: 2 .gif, 1 .heic. To take' in text
    assert len(folder(data, extensions=('.gif', '.png', '.heic'))) == 5
    assert len(warnings_of()) == 1


def test_names_are_shown_escaped(data):
    os.chmod(data / 'a.png', 0)
    strange = os.fsencode(data) + b'/\xff\x1b[2J\n.png'
    Path(os.fsdecode(strange)).write_bytes(b'no image')
    dataset = folder(data, on_unreadable='raise')
    user = os.geteuid()
    if not user:  # root may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(UnreadableImageError, match='a.png: Permission'):
            dataset[0]
    finally:
        os.seteuid(user)
    with pytest.raises(UnreadableImageError) as caught:
        dataset[len(dataset) - 1]
    text = str(caught.value)
    assert '\\udcff\\x1b[2J\\n.png' in text and text.isprintable()
    text.encode()  # it can be logged
    for name, shown in (('plain ü 猫.jpg', 'plain ü 猫.jpg'),
                        ('a\u202eb', 'a\\u202eb'), ('\0', '\\x00')):
        assert printable(name) == printable(Path(name)) == shown


# ---- several folders


def test_several_folders_are_as_one_that_holds_them(tmp_path):
    for name in ('b/z', 'a', 'b/c'):
        write(tmp_path / 'all' / name, *(f'{i}.png' for i in range(3)))
    one = folder(tmp_path / 'all')
    several = folder([str(tmp_path / 'all' / name) for name in 'ba'])
    assert [*sample_paths(several)] == [*sample_paths(one)]
    assert len(one) == 9
    assert several[0]['img_path'] == one[0]['img_path']


@pytest.mark.parametrize('changes, error, message', [
    ({}, ValueError, 'must name folders that do not hold each other, got'),
    (dict(data_root=['a', 'missing']), FileNotFoundError, 'not a folder'),
    (dict(data_root=['a', 'b'], ann_file='x.txt'), ValueError,
     "ann_file must be empty for several data_root, got 'x.txt'"),
    (dict(data_root=[]), FileNotFoundError, "got '', which is not a folder"),
])
def test_several_folders_that_cannot_be(tmp_path, monkeypatch, changes, error,
                                        message):
    monkeypatch.chdir(tmp_path)
    for name in ('a/b', 'b'):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(error, match=message):
        ImageFolder(**{'data_root': ['a', 'a/b'], **changes})


# ---- lists


def listed(root, content, **kwargs):
    path = root.parent / 'list.txt'
    if isinstance(content, str):
        content = content.encode('utf-8', 'surrogateescape')
    path.write_bytes(content)
    return folder(root, ann_file=str(path), **kwargs)


@pytest.mark.parametrize('content', [
    'a.png\nbelow/b.png', 'a.png\r\nbelow/b.png\r\n',
    '\na.png\n\n  \nbelow/b.png\n\n', 'a.png\nbelow/../below/b.png\n'])
def test_lists_that_are_right(data, content):
    assert names(listed(data, content)) == ['a.png', 'below/b.png']
    assert names(listed(data, f'{data}/a.png')) == ['a.png']


@pytest.mark.parametrize('content, message', [
    *((f'a.png\n\n{name}\n', f'line 3 of ann_file .*list.txt must be below '
       f'data_root .*, got {name}') for name in (
           '../secret.png', 'below/../../secret.png', '/etc/passwd', '..')),
    ('{data}2/a.png', 'line 1 of ann_file'),
    (b'a.png\n\xff.png', 'ann_file must be UTF-8, got .*list.txt: .* 0xff'),
    ('', 'lists no image'), ('\n\n', 'lists no image'),
    # it is not unpickled
    (pickle.dumps([dict(img_path='a.png')]), 'ann_file must be UTF-8'),
])
def test_a_list_that_is_damaged_or_leaves_data_root(data, content, message):
    if isinstance(content, str):
        content = content.replace('{data}', str(data))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        listed(data, content)


@pytest.mark.parametrize('name, shown', [
    ('a\0.png', r'a\x00.png'), ('x' * 100_000, 'x...x'),
    ('\x1b]0;pwned\x07.png', r'\x1b]0;pwned\x07.png')])
def test_names_that_no_file_can_have_are_unreadable(data, name, shown):
    with pytest.raises(UnreadableImageError) as caught:
        listed(data, f'a.png\n{name}\n', on_unreadable='raise')[1]
    text = str(caught.value)
    assert shown in text and len(text) < 2000 and text.isprintable()


# ---- files that cannot be read


def test_seeded_samples_do_not_hand_over_to_each_other_for_ever(tmp_path):
    """Seeding makes the draw of another sample the same at each try."""
    write(tmp_path, 'a.png')
    write(tmp_path, 'b.png', 'c.png', 'd.png', content=b'')
    dataset = folder(tmp_path, SEED)
    for epoch in range(30):
        dataset.pipeline.transforms[0].set(0, epoch)
        for index in range(4):
            assert dataset[index]['img_path'].endswith('a.png')


def test_the_same_sample_takes_the_place_in_the_same_epoch(tmp_path):
    write(tmp_path, *(f'{name}.png' for name in 'abcdef'))
    write(tmp_path, 'x.png', content=b'')
    shown: list[list[int]] = []
    for before in ([], [0, 6, 3]):
        dataset = folder(tmp_path, SEED)
        dataset.pipeline.transforms[0].set(0, 0)
        [dataset[index] for index in before]
        shown.append([])
        for epoch in range(20):
            dataset.pipeline.transforms[0].set(0, epoch)
            shown[-1].append(dataset[6]['sample_idx'])
    assert shown[0] == shown[1]
    assert len(set(shown[0])) > 3


# ---- what is told of a folder at the start


@pytest.mark.parametrize('highest, white, said', [
    (4095, 65535, 'dark'), (65535, 65535, ''), (40000, 65535, ''),
    (4095, 4095, ''), (5000, 4095, 'clipped')])
def test_levels_that_do_not_fill_16_bits_are_told_once(
        tmp_path, warnings_of, highest, white, said):
    levels = np.linspace(7, highest, 24 * 32).astype(np.uint16)
    for i in range(10):
        Image.fromarray(levels.reshape(24, 32)).save(tmp_path / f'{i:02}.png')
    Image.new('RGB', (32, 24)).save(tmp_path / '00.jpg')
    (tmp_path / '01.png').write_bytes(b'')
    dataset = ImageFolder(
        str(tmp_path), pipeline=[SEED, dict(LOAD, white_level=white)],
        lazy_init=True)
    assert not warnings_of()
    dataset.full_init()
    dataset.full_init()  # as the runner calls it once more
    fits = dict(dark=4095, clipped=8191).get(said, 0)
    assert [m for m in warnings_of() if 'white_level' in m] == [
        f'6 of the first 8 images have 16 bits, with levels of 7 to '
        f'{highest:,}; white_level {white:,} is white, so they come out '
        f'{said}. Set pipeline.1.white_level={fits} of LoadImage to make '
        f'level {fits:,} white.'] * bool(said)


@pytest.mark.parametrize('content, message', [
    (lambda i: PICTURE, '32 are the same image'),
    (lambda i: b'text' if i else PICTURE, '1 can be read'),
    (lambda i: PICTURE + bytes([i]), None)])
def test_a_folder_that_is_not_what_was_meant(tmp_path, content, message,
                                             warnings_of):
    for i in range(40):
        write(tmp_path, f'{i:02d}.png', content=content(i))
    folder(tmp_path)
    assert warnings_of() == [f'of 32 images looked at in {tmp_path}, '
                             f'{message}.'] * bool(message)
