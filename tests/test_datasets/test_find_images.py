"""What a folder or a list names, and what it must not name."""
from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from image_bytes import encode, noise
from mmengine.logging import MMLogger

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.encoded_image import printable
from amt_mm.datasets.transforms import UnreadableImageError

PICTURE = encode(noise(), 'PNG')


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with two pictures, one in a folder below."""
    root = tmp_path / 'data'
    (root / 'below').mkdir(parents=True)
    for name in ('a.png', 'below/b.png'):
        (root / name).write_bytes(PICTURE)
    return root


def folder(root: Path, **kwargs) -> ImageFolder:
    return ImageFolder(str(root), pipeline=[dict(type='amt_mm.LoadImage')],
                       serialize_data=False, **kwargs)


def names(dataset: ImageFolder) -> list[str]:
    return [os.path.relpath(dataset.get_data_info(i)['img_path'],
                            dataset.data_root) for i in range(len(dataset))]


@pytest.fixture
def warnings_of(caplog):
    """Return a function that reads what a logger, now in use, warned of."""
    logger = MMLogger.get_instance('find_images', log_level='WARNING')
    MMLogger._instance_dict.move_to_end('find_images')  # the current one
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records
                   if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


# ---- folders


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
    for index, why in ((2, 'No such file'), (3, 'no regular file'),
                       (4, 'no regular file')):
        with pytest.raises(UnreadableImageError, match=why):
            strict[index]


def test_links_are_followed(data, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'c.png').write_bytes(PICTURE)
    (data / 'link').symlink_to(tmp_path / 'elsewhere')
    (data / 'd.png').symlink_to('a.png')
    assert names(folder(data)) == ['a.png', 'below/b.png', 'd.png',
                                   'link/c.png']
    assert names(folder(f'{data}/')) == names(folder(data))


@pytest.mark.parametrize('target', ['.', '..', '../..'])
def test_a_link_that_leads_back(data, target):
    (data / 'below' / 'back').symlink_to(target)
    with pytest.raises(ValueError, match=(
            r'the link .*/data/below/back leads to a folder that it lies in')):
        folder(data)


def test_links_that_lead_back_together(data, tmp_path):
    (tmp_path / 'other').mkdir()
    (data / 'below' / 'out').symlink_to(tmp_path / 'other')
    (tmp_path / 'other' / 'back').symlink_to(data / 'below')
    with pytest.raises(ValueError, match='out/back leads to a folder'):
        folder(data)


def test_pictures_that_are_left_out_are_counted(data, warnings_of):
    for name in ('x.gif', 'y.GIF', 'z.heic', 'notes.txt', '._a.gif'):
        (data / name).write_bytes(PICTURE)
    assert len(folder(data)) == 2
    text, = warnings_of()
    assert f'pictures of {data}/ left out: 2 .gif, 1 .heic. To take' in text
    assert len(folder(data, extensions=('.gif', '.png', '.heic'))) == 5
    assert len(warnings_of()) == 1


def test_gifs_are_read_where_they_are_asked_for(data):
    (data / 'x.gif').write_bytes(encode(noise(), 'GIF', save_all=True,
                                        append_images=[noise(seed=1)]))
    dataset = folder(data, extensions=('.gif', ))
    assert dataset[0]['img'].shape == (48, 64, 3)


def test_a_file_that_may_not_be_read(data):
    os.chmod(data / 'a.png', 0)
    dataset = folder(data, on_unreadable='raise')
    user = os.geteuid()
    if not user:  # root may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(UnreadableImageError,
                           match=r'a.png: PermissionError'):
            dataset[0]
    finally:
        os.seteuid(user)


def test_names_in_broken_utf8_are_shown_escaped(data):
    strange = os.fsencode(data) + b'/\xff\x1b[2J\n.png'
    Path(os.fsdecode(strange)).write_bytes(b'no image')
    dataset = folder(data, on_unreadable='raise')
    with pytest.raises(UnreadableImageError) as caught:
        dataset[len(dataset) - 1]
    text = str(caught.value)
    assert '\\udcff\\x1b[2J\\n.png' in text
    text.encode()  # it can be logged
    assert text.isprintable()


# ---- lists


def listed(root: Path, content: str | bytes) -> ImageFolder:
    path = root.parent / 'list.txt'
    if isinstance(content, str):
        content = content.encode('utf-8', 'surrogateescape')
    path.write_bytes(content)
    return folder(root, ann_file=str(path))


@pytest.mark.parametrize('content', [
    'a.png\nbelow/b.png', 'a.png\r\nbelow/b.png\r\n',
    '\na.png\n\n  \nbelow/b.png\n\n', 'a.png\nbelow/../below/b.png\n'])
def test_lists_that_are_right(data, content):
    assert names(listed(data, content)) == ['a.png', 'below/b.png']


def test_absolute_paths_below_data_root(data):
    assert names(listed(data, f'{data}/a.png')) == ['a.png']


@pytest.mark.parametrize('name', [
    '../secret.png', 'below/../../secret.png', '/etc/passwd',
    '../../../../../../etc/passwd', '/', '..'])
def test_a_list_that_leaves_data_root(data, name):
    with pytest.raises(ValueError) as caught:
        listed(data, f'a.png\n\n{name}\n')
    text = str(caught.value)
    assert 'line 3 of ann_file' in text and 'list.txt' in text
    assert f'must be below data_root {data}, got {name}' in text


def test_a_sister_folder_is_not_below(data):
    with pytest.raises(ValueError, match='must be below data_root'):
        listed(data, f'{data}2/a.png')


@pytest.mark.parametrize('content, message', [
    (b'a.png\n\xff.png', r'ann_file must be UTF-8, got .*list.txt: .* 0xff'),
    ('', 'lists no image'), ('\n\n', 'lists no image'),
])
def test_a_list_that_is_damaged(data, content, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e:
        listed(data, content)
    assert len(str(e.value)) < 2000


@pytest.mark.parametrize('name', ['a\0.png', 'x' * 10_000_000])
def test_names_that_no_file_can_have_are_unreadable(data, name):
    dataset = listed(data, f'a.png\n{name}\n')
    with pytest.raises(UnreadableImageError) as caught:
        dataset.on_unreadable = 'raise'
        dataset[1]
    assert len(str(caught.value)) < 2000
    assert str(caught.value).isprintable()


def test_control_characters_of_a_list_stay_out_of_the_log(data):
    dataset = listed(data, '\x1b]0;pwned\x07.png\n')
    with pytest.raises(UnreadableImageError) as caught:
        dataset[0]
    assert '\\x1b]0;pwned\\x07.png' in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_list_of_the_wrong_kind_is_not_unpickled(data):
    import pickle
    (data.parent / 'list.pkl').write_bytes(
        pickle.dumps([dict(img_path='a.png')]))
    with pytest.raises(ValueError):
        folder(data, ann_file=str(data.parent / 'list.pkl'))


@pytest.mark.parametrize('text, shown', [
    ('plain ü 猫.jpg', 'plain ü 猫.jpg'), ('a\nb', 'a\\nb'),
    ('a\u202eb', 'a\\u202eb'), ('\udc80', '\\udc80'), ('\0', '\\x00')])
def test_printable(text, shown):
    assert printable(text) == printable(Path(text)) == shown


def test_printable_shortens():
    assert len(printable('x' * 10_000)) < 600
