"""Saliency images of a folder, right and wrong."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from image_bytes import png
from PIL import Image
from tiny_run import (
    NUM_IMAGES,
    WORKERS,
    loss_trace,
    store_of,
    use_source,
)

from amt_mm.datasets import ImageFolder
from amt_mm.engine.sources import FolderSaliency
from amt_mm.engine.sources.worker_saliency import read_map

GRID = (4, 4)


def write_maps(images: Path, root: Path) -> dict[str, np.ndarray]:
    """Write a map of another format and size for each image."""
    rng, maps = np.random.default_rng(0), {}
    for i, path in enumerate(sorted(images.rglob('*.jpg'))):
        target = root / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        cells = rng.integers(0, 256, GRID, dtype=np.uint8)
        maps[str(path.relative_to(images))] = cells / cells.max()
        if i % 3 == 0:
            np.save(target.with_suffix('.npy'), cells * 7.)
        else:
            blocks = cells.repeat(16, 0).repeat(16, 1)
            Image.fromarray(cells if i % 3 == 1 else blocks).save(
                target.with_suffix('.png'))
    return maps


def test_run_with_a_folder(tiny_cfg, run, images, tmp_path):
    maps = write_maps(images, tmp_path / 'maps')
    source = dict(type='amt_mm.FolderSaliency', root=str(tmp_path / 'maps'))
    runner = run(use_source(
        tiny_cfg(**WORKERS, **{'train_cfg.max_epochs': 2}), source))
    store = store_of(runner)
    assert store.generations == [0]  # once, before the training
    assert len(maps) == NUM_IMAGES
    for index, expected in enumerate(maps.values()):
        np.testing.assert_allclose(store.read(index), expected, atol=1e-3)
    assert np.isfinite(loss_trace(runner)).all()


# ---- one image of 48 x 64 and its map


@pytest.fixture
def source_of(tmp_path):
    """Return a function that writes an image, perhaps its map, and pairs them.

    It returns the source and the sample of the image.
    """

    def make(map_name=None, content=None, grid=(6, 8)):
        data, root = tmp_path / 'data', tmp_path / 'maps'
        for folder in (data / 'a', root / 'a'):
            folder.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (64, 48)).save(data / 'a' / 'b.jpg')
        if isinstance(content, bytes):
            (root / map_name).write_bytes(content)
        elif isinstance(content, Image.Image):
            content.save(root / map_name)
        elif content is not None:
            np.save(root / map_name, content)
        source = FolderSaliency(str(root))
        source.setup(None, ImageFolder(data_root=str(data)), grid)
        return source, dict(
            img_path=str(data / 'a' / 'b.jpg'), ori_shape=(48, 64))

    return make


@pytest.fixture
def one(source_of):
    """Return a function that reads the map it writes."""

    def read(*args):
        source, sample = source_of(*args)
        return source.prepare(sample).numpy()

    return read


def test_a_map_is_averaged_over_each_token(one):
    pixels = np.random.default_rng(0).random((48, 64))
    expected = pixels.reshape(6, 8, 8, 8).mean((1, 3))
    np.testing.assert_allclose(
        one('a/b.npy', pixels), expected / expected.max(), rtol=1e-5)


def test_scales_of_the_image(one):
    """The floor of a map is kept."""
    for size in ((6, 8), (480, 640), (37, 49)):
        halves = np.full(size, 0.2)
        halves[:, (size[1] + 1) // 2:] = 0.8
        np.testing.assert_allclose(
            one('a/b.npy', halves)[0, [0, 7]], [.25, 1.])


@pytest.mark.parametrize('mode, value', [
    ('1', 1), ('L', 9), ('I;16', 4000), ('F', 2.5),
    ('RGB', (3, 3, 3))])
def test_grey_formats(tmp_path, mode, value):
    path = tmp_path / ('m.png' if mode != 'F' else 'm.tif')
    Image.new(mode, (8, 6), value).save(path)
    assert read_map(path).shape == (6, 8)
    assert read_map(path).max() == (value[0] if mode == 'RGB' else value)


@pytest.mark.parametrize('args, message', [
    ((), r'1 of 1 images have no saliency map below .*maps: expected '
     r'.*maps/a/b with the ending .png, .jpg, .npy.$'),
    (('a/B.npy', np.ones((6, 8))),
     r'1 files fit no image, such as .*maps/a/B.npy'),
    (('a/b.jpg.npy', np.ones((6, 8))),
     r'1 files fit no image, such as .*maps/a/b.jpg.npy')])
def test_missing_maps_and_wrong_names_are_named(one, args, message):
    with pytest.raises(FileNotFoundError, match=message):
        one(*args)


def test_names_that_are_not_unique(one, tmp_path):
    one('a/b.npy', np.ones((6, 8)))
    with pytest.raises(ValueError, match=r'a/b.jpg must have one saliency ma'
                       r'p, got .*b.png and .*b.npy'):
        one('a/b.png', Image.new('L', (8, 6)))
    (tmp_path / 'maps' / 'a' / 'b.png').unlink()
    Image.new('RGB', (64, 48)).save(tmp_path / 'data' / 'a' / 'b.bmp')
    with pytest.raises(ValueError, match=r'a/b.bmp and a/b.jpg would have'):
        one('a/b.npy', np.ones((6, 8)))


def test_maps_beside_the_images(one, tmp_path):
    one('a/b.npy', np.ones((6, 8)))
    data = tmp_path / 'data'
    source = FolderSaliency(str(data))
    dataset = ImageFolder(data_root=str(data))
    with pytest.raises(FileNotFoundError, match='1 of 1'):  # not itself
        source.setup(None, dataset, (6, 8))
    np.save(data / 'a' / 'b.npy', np.ones((6, 8)))
    source.setup(None, dataset, (6, 8))
    sample = dict(img_path=str(data / 'a/b.jpg'), ori_shape=(48, 64))
    assert source.prepare(sample).min() == 1


# ---- maps of strangers


def header_of(shape, descr="'<f8'"):
    """Return a .npy file that claims a shape and holds 48 numbers."""
    text = (f"{{'descr': {descr}, 'fortran_order': False, "
            f"'shape': {shape}, }}").ljust(117) + '\n'
    return b'\x93NUMPY\x01\x00' + len(text).to_bytes(
        2, 'little') + text.encode() + bytes(384)


def whole_png():
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(
        buffer, 'PNG')
    return buffer.getvalue()


WRONG_MAPS = {
    'colour': (Image.new('RGB', (64, 48), (9, 0, 0)), 'be grey'),
    'alpha': (Image.new('RGBA', (64, 48)), 'be grey'),
    'transposed': (np.ones((64, 48)), r'got \(64, 48\)'),
    'too small': (np.ones((3, 4)), r'tokens \(6, 8\), got \(3, 4'),
    'three axes': (np.ones((1, 6, 8)), r'shape \(1, 6, 8\)'),
    'text': (np.full((6, 8), 'x'), 'of <U1'),
    'NaN': (np.full((6, 8), np.nan), 'finite and >= 0'),
    'negative': (np.full((6, 8), -1.), r'values in \[-1.0, -1.0'),
    'empty': (b'', 'cannot read'),
    'code': (b"cos\nsystem\n(S'touch pwned'\ntR.", 'cannot read'),
    'objects': (header_of('(6, 8)', "'|O'"), 'Python objects'),
    'huge': (header_of('(1000000, 1000000)'), 'greater than file'),
    'expression': (header_of("__import__('os').getcwd()"),
                   'malformed|Cannot parse'),
    'records': (header_of('(6,)', "[('x', '<f8'), ('y', '<f8')]"),
                r'be grey \(h, w\), got shape \(6,\)'),
    'none': (header_of('(0, 8)'), r'got \(0, 8\)'),
    'bomb of which Pillow only warns': (
        png(10_000, 17_000), 'max_pixels 89,478,485'),
    'cut': (whole_png()[:-30], 'cut off'),
    'flipped': (whole_png()[:50] + b'?' + whole_png()[51:],
                'checksum|cut off'),
    'script': (b'%!PS-Adobe-3.0 EPSF-3.0\n', 'not an image'),
}
PICTURES = (
    'colour', 'alpha', 'bomb of which Pillow only warns', 'cut', 'flipped',
    'script')


@pytest.mark.parametrize('kind', WRONG_MAPS)
def test_a_wrong_or_hostile_map_is_named(one, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = WRONG_MAPS[kind]
    name = 'a/b.png' if kind in PICTURES else 'a/b.npy'
    with pytest.raises(ValueError, match=message) as caught:
        one(name, content)
    assert f'maps/{name}' in str(caught.value)
    assert not (tmp_path / 'pwned').exists()


def test_order_and_byte_order_of_an_array(one):
    values = np.arange(48.).reshape(6, 8)
    for array in (np.asfortranarray(values), values.astype('>f4'),
                  values.astype('<i2')):
        assert one('a/b.npy', array) == pytest.approx(values / 47)


def test_a_palette_holds_no_levels(one):
    values = np.arange(48, dtype=np.uint8).reshape(6, 8)
    image = Image.fromarray(values, 'L').convert('P')
    levels = [level for i in range(256) for level in [255 - i] * 3]
    image.putpalette(levels)
    assert one('a/b.png', image) == pytest.approx((255. - values) / 255)
    levels[3] = 0
    image.putpalette(levels)
    with pytest.raises(ValueError, match='be grey'):
        one('a/b.png', image)


def test_links_and_what_is_no_file(source_of, tmp_path):
    source, sample = source_of('a/b.npy', np.ones((6, 8)))
    np.save(tmp_path / 'secret.npy', np.ones((6, 8)))
    # as in the list of another data set than ImageFolder
    with pytest.raises(ValueError, match='must lie below'):
        source.prepare(dict(
            sample, img_path=f'{tmp_path}/data/../secret.jpg'))
    path = tmp_path / 'maps' / 'a' / 'b.npy'
    for target in (tmp_path / 'secret.npy', '/dev/zero', 'nowhere'):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(ValueError, match=r'maps/a/b.npy'):
            source.prepare(sample)
    path.unlink()
    np.save(path.with_name('c.npy'), np.ones((6, 8)))
    path.symlink_to('c.npy')  # inside
    assert source.prepare(sample).min() == 1
    path.unlink()
    with pytest.raises(FileNotFoundError, match='a/b.jpg is gone from'):
        source.prepare(sample)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r'a/b.npy: .*not a regular file'):
        source.prepare(sample)
