"""Files that are whole, cut off, damaged, unusual or hostile."""
from __future__ import annotations

import io
import multiprocessing
import re
import resource
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_bytes import (
    UNUSUAL,
    bombs,
    encode,
    noise,
    png,
    tiff,
    with_jpeg_size,
)
from PIL import Image

from amt_mm.datasets.transforms import LoadImage, UnreadableImageError
from amt_mm.datasets.transforms.load_image import MAX_PIXELS

TURNED = Image.Exif()
TURNED[0x112] = 6


def load(path, content, **kwargs):
    """Return the image that LoadImage makes of bytes, None if refused."""
    path.write_bytes(content)
    try:
        return LoadImage(**kwargs)(dict(img_path=str(path)))['img']
    except UnreadableImageError as error:
        assert str(path) in str(error)
        return None


SMALL, OTHER = noise(8, 16), noise(8, 16, seed=1)
WHOLE = {
    'jpeg': encode(SMALL, 'JPEG', exif=TURNED),
    'progressive': encode(SMALL, 'JPEG', progressive=True),
    'png': encode(SMALL, 'PNG'),
    'interlaced_png': cv2.imencode('.png', np.asarray(SMALL))[1].tobytes(),
    'apng': encode(SMALL, 'PNG', save_all=True, append_images=[OTHER]),
    'webp': encode(SMALL, 'WEBP'),
    'lossless_webp': encode(SMALL, 'WEBP', lossless=True),
    'animated_webp': encode(SMALL, 'WEBP', save_all=True,
                            append_images=[OTHER]),
    'bmp': encode(SMALL, 'BMP'),
    'tiff': encode(SMALL, 'TIFF'),
    'lzw_tiff': encode(SMALL, 'TIFF', compression='tiff_lzw'),
    'deflate_tiff': encode(SMALL, 'TIFF', compression='tiff_adobe_deflate'),
    'ppm': encode(SMALL, 'PPM'),
    'gif': encode(SMALL, 'GIF'),
    'avif': encode(SMALL, 'AVIF'),
}


@pytest.mark.parametrize('name', WHOLE)
def test_cut_anywhere_is_an_error_or_the_whole_picture(tmp_path, name):
    """As a download that stopped, on a disk that had the space reserved."""
    content, path = WHOLE[name], tmp_path / 'x.jpg'
    whole, end = load(path, content), len(content)
    assert whole is not None
    # of a WebP file that is filled up nothing tells
    has_checks = name in ('jpeg', 'progressive', 'png')
    for length in (*range(0, end - 20, 11), *range(end - 20, end)):
        tails = [b'']
        if has_checks and length >= 20:
            tails += [bytes(end - length), b'<html>502 Bad Gateway' * 100]
        for tail in tails:
            found = load(path, content[:length] + tail)
            is_lost = (has_checks or name == 'webp') and length < end - 12
            assert found is None or not is_lost and np.array_equal(
                found, whole), (length, tail[:1])
    for tail in (b'\0' * 1000, b'\n', b'<html>'):  # whole, and more
        np.testing.assert_array_equal(load(path, content + tail), whole)


def test_a_flipped_bit_of_a_png_is_an_error(tmp_path):
    """All of its bytes are under a checksum but for those of the lengths."""
    content = WHOLE['png']
    whole = load(tmp_path / 'x.png', content)
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        found = load(tmp_path / 'x.png', bytes(damaged))
        assert found is None or np.array_equal(found, whole), at


@pytest.mark.parametrize('name', [
    'jpeg', 'progressive', 'webp', 'tiff', 'lzw_tiff', 'bmp', 'gif', 'avif'])
def test_flipped_bits_break_nothing_but_the_picture(tmp_path, name):
    """They have no checksum: an error, or other pixels, but no crash."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(WHOLE[name])
        for at in rng.integers(0, len(damaged), 3):
            damaged[at] ^= 1 << rng.integers(8)
        found = load(tmp_path / 'x', bytes(damaged), max_pixels=1_000_000)
        assert found is None or (found.ndim, found.dtype) == (3, np.uint8)


def load_in_small_memory(root, pipe):
    """Load all bombs with 300 MB more than there are, and send the errors."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + (300 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found = {}
    for name, content in bombs().items():
        (root / name).write_bytes(content)
        try:
            LoadImage()(dict(img_path=str(root / name)))
        except UnreadableImageError as error:
            found[name] = str(error)
    pipe.send(found)


@pytest.mark.skipif(not Path('/proc/self/statm').exists(),
                    reason='needs Linux')
def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe()
    process = context.Process(target=load_in_small_memory,
                              args=(tmp_path, theirs))
    process.start()
    found = ours.recv() if ours.poll(120) else {}
    process.join()
    assert found.keys() == bombs().keys()
    for name, error in found.items():
        assert f'cannot read the image {tmp_path / name}: ' in error
        assert 'MemoryError' not in error
        if not name.endswith(('.webp', '.avif')):  # Pillow's own words
            assert f'have 1 to max_pixels {MAX_PIXELS:,} pixels, got' in error


def test_limits_of_pixels_and_of_bytes(tmp_path):
    content = encode(noise(20, 30), 'PNG')
    assert load(tmp_path / 'x.png', content, max_pixels=600) is not None
    assert load(tmp_path / 'x.png', content, max_pixels=599) is None
    path = tmp_path / 'sparse.jpg'
    with open(path, 'wb') as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableImageError, match=(
            r'at most 1,448,432,976 bytes for max_pixels 178,956,970, got '
            r'1,099,511,627,776')):
        LoadImage()(dict(img_path=str(path)))


def grey(dtype, factor=1):
    values = np.asarray(noise().convert('L'), dtype)
    return Image.fromarray((values * factor).astype(dtype))


@pytest.mark.parametrize('name', [*UNUSUAL, *WHOLE])
def test_unusual_files_have_pillows_pixels(tmp_path, name):
    content = {**UNUSUAL, **WHOLE}[name]
    found = load(tmp_path / name, content)
    assert found.dtype == np.uint8
    if name in UNUSUAL:  # the first picture, but for rounding of inks
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(image.convert('RGB'))[..., ::-1]
        error = np.abs(found.astype(int) - expected).max()
        assert error <= (name == 'cmyk.jpg')
    # they have 8 bits, which white_level leaves alone
    assert LoadImage().levels(str(tmp_path / name)) is None
    np.testing.assert_array_equal(
        load(tmp_path / name, content, white_level=4095), found)


@pytest.mark.parametrize('kind', ['png', 'tiff', 'pgm', 'rgb.png', 'rgb.tiff'])
def test_16_bits_are_scaled(tmp_path, kind):
    colour = np.asarray(noise())[..., ::-1]
    levels = np.asarray(noise().convert('L'), '>u2') * 257
    content = b'P5 64 48 65535\n' + levels.astype('>u2').tobytes() \
        if kind == 'pgm' else encode(grey(np.uint16, 257), kind.upper()) \
        if '.' not in kind else cv2.imencode(
            kind[3:], colour.astype(np.uint16) * 257)[1].tobytes()
    expected = colour if '.' in kind else np.asarray(
        noise().convert('L').convert('RGB'))
    np.testing.assert_array_equal(load(tmp_path / 'x', content), expected)
    # where Pillow would clip nearly all to white, it is not asked
    if '.' not in kind:
        assert load(tmp_path / 'x', content, imdecode_backend='pillow') is None


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_white_level_is_white(tmp_path, form):
    levels = np.asarray(noise().convert('L'), np.uint16) * 16 + 15
    expected, path = levels >> 4, tmp_path / 'x'
    content = encode(Image.fromarray(levels), form)
    assert load(path, content).max() < 16
    found = load(path, content, white_level=4095)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.stack([expected] * 3, -1))
    found = load(path, content, white_level=4095, color_type='grayscale')
    np.testing.assert_array_equal(found, expected)
    # what is lighter than white is white
    found = load(path, content, white_level=2047)[..., 0]
    np.testing.assert_array_equal(found, np.minimum(expected * 2. + 1, 255))
    assert LoadImage().levels(str(path))[1] > 2047


@pytest.mark.parametrize('options, message', [
    *((dict(white_level=4095, **options), "white_level needs .*'cv2' and")
      for options in (dict(imdecode_backend='pillow'),
                      dict(color_type='unchanged'))),
    (dict(imdecode_backend='tifffile'), "color_type must be 'unchanged'"),
    *((dict(white_level=value), 'white_level') for value in (0, 65536, None)),
    (dict(max_pixels=0), 'max_pixels must be an integer >= 1'),
])
def test_options_that_mean_nothing(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LoadImage(**options)


@pytest.mark.parametrize('name', ['rgba', 'unnamed', 'la', 'shaped', 'ome'])
def test_alpha_is_no_channel(tmp_path, name):
    """Nor is what a description counts as the samples of a page do."""
    colour = noise()
    rgba = np.asarray(colour.convert('RGBA'))[..., [2, 1, 0, 3]]
    content = dict(
        rgba=encode(colour.convert('RGBA'), 'TIFF'),
        unnamed=cv2.imencode('.tiff', rgba)[1].tobytes(),
        la=encode(colour.convert('LA'), 'TIFF'),
        shaped=encode(colour, 'TIFF', tiffinfo={
            270: '{"shape": [48, 64, 3]}'}),
        ome=encode(colour, 'TIFF', tiffinfo={
            270: '<OME><Pixels SizeC="3" SizeX="64"></Pixels></OME>'}),
    )[name]
    if name == 'la':
        colour = colour.convert('L').convert('RGB')
    np.testing.assert_array_equal(
        load(tmp_path / 'x.tif', content), np.asarray(colour)[..., ::-1])


def test_channels_that_are_asked_for(tmp_path):
    """As 'unchanged' asks for those of the file, and tifffile has them."""
    tifffile = pytest.importorskip('tifffile')
    bands = np.random.default_rng(0).integers(0, 4096, (32, 24, 13), 'u2')
    path = tmp_path / 'x.tif'
    for options in ({}, dict(photometric='minisblack', planarconfig=1)):
        tifffile.imwrite(path, bands, **options)
        with pytest.raises(UnreadableImageError) as caught:
            LoadImage()(dict(img_path=str(path)))
        asked = re.search(r'LoadImage\((.*?)\)', str(caught.value))[1]
        asked = dict(re.findall(r"(\w+)=\\?'(\w+)", asked))
        assert set(asked) == {'color_type', 'imdecode_backend'}
        found = LoadImage(**asked)(dict(img_path=str(path)))['img']
        np.testing.assert_array_equal(found, bands)


REFUSED = {
    'empty.jpg': (b'', 'not an image: 0 bytes'),
    'text.jpg': (b'this is no image', 'not an image: 16 bytes, which begin'),
    # Pillow would start Ghostscript
    'script.webp': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'
                    b'%%EndComments\nshowpage\n', 'not an image'),
    'float.tif': (encode(grey(np.float32), 'TIFF'),
                  'must hold unsigned integers, got SampleFormat'),
    'colour_float.tif': (cv2.imencode('.tiff', np.ones(
        (8, 8, 3), np.float32))[1].tobytes(), 'got SampleFormat'),
    'signed.tif': (encode(grey(np.int32), 'TIFF'), 'got SampleFormat [2]'),
    '32_bits.tif': (tiff(BitsPerSample=32, StripByteCounts=256), 'decoded'),
    'bands.tif': (tiff(SamplesPerPixel=13, BitsPerSample=16),
                  'got 13 samples a pixel, 0 of them alpha.'),
    'colour_and_more.tif': (encode(noise().convert('RGBX'), 'TIFF'),
                            'got 4 samples a pixel, 0 of them alpha.'),
    'shaped.tif': (encode(noise(13, 64).convert('L'), 'TIFF', tiffinfo={
        270: '{"shape": [48, 64, 13]}'}),
        'got an array of shape (48, 64, 13) in pages of 13 x 64.'),
    'imagej.tif': (encode(noise().convert('L'), 'TIFF', tiffinfo={
        270: 'ImageJ=1.54f\nimages=4\nchannels=4\n'}),
        'got 4 channels in pages of 1.'),
    'ome.tif': (encode(noise().convert('L'), 'TIFF', tiffinfo={
        270: '<OME><Pixels SizeC="5" SizeX="64"></Pixels></OME>'}),
        'got 5 channels in pages of 1.'),
    'dark.pgm': (b'P5 4 4 15\n' + bytes(range(16)),
                 "must be 255 or 65535, got b'15'"),
    'header.jpg': (b'\xff\xd8\xff\xe0\0\x10JFIF', 'header is damaged'),
    'no_size.ppm': (b'P6 # only a comment', 'header is damaged'),
    'no_pixels.png': (png(0, 5), 'header is damaged'),
    'short.tif': (b'II*\0\xff\xff\xff\xff', 'header is damaged'),
    'no_height.jpg': (with_jpeg_size(encode(noise(), 'JPEG'), 64, 0),
                      'header is damaged'),
    'claim.png': (png(8, 8, struct.pack('>I', 0x7ffffff0) + b'tEXt',
                      content=bytes(8 * 25)), 'header is damaged'),
    'float.pfm': (b'Pf 2 2 -1.0\n' + bytes(16), 'not an image'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused_files_say_why(tmp_path, name):
    content, message = REFUSED[name]
    path = str(tmp_path / name)
    for backend in ('cv2', 'pillow'):
        load = LoadImage(imdecode_backend=backend)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImageError) as caught:
            load(dict(img_path=path))
        assert path in str(caught.value)
        # of what cannot be decoded each says it in its own way
        assert message in str(caught.value) or (
            backend, message) == ('pillow', 'decoded')
    assert LoadImage().levels(path) is None
    (tmp_path / name).unlink()
    with pytest.raises(UnreadableImageError, match=f'the image {path}: '):
        load(dict(img_path=path))


def test_white_level_and_inverted_levels(tmp_path):
    path = tmp_path / 'x.tif'
    path.write_bytes(tiff(PhotometricInterpretation=0, BitsPerSample=16,
                          StripByteCounts=128))
    with pytest.raises(UnreadableImageError, match='level 0 is black'):
        LoadImage(white_level=4095)(dict(img_path=str(path)))


def test_trailing_pictures_do_not_stand_for_a_cut_first(tmp_path):
    """A thumbnail's end within the header is not the end of the file."""
    thumbnail = encode(noise(16, 16), 'JPEG')
    whole = encode(noise(), 'JPEG')
    segment = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    content = whole[:2] + segment + whole[2:]
    assert load(tmp_path / 'x.jpg', content) is not None
    assert load(tmp_path / 'x.jpg', content[:-200]) is None
    assert load(tmp_path / 'x.jpg', content[:-200] + bytes(200)) is None


def test_all_images_are_kept_and_read_only(tmp_path, jpeg_folder):
    path = tmp_path / 'x.jpg'
    path.write_bytes((jpeg_folder / '0.jpg').read_bytes())
    load, plain = LoadImage(keep_all=True), LoadImage()
    expected = plain(dict(img_path=str(path)))['img']
    load(dict(img_path=str(path)))
    path.unlink()
    image = load(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(image, expected)
    assert not image.flags.writeable
    with pytest.raises(UnreadableImageError, match='x.jpg'):
        plain(dict(img_path=str(path)))
