"""Files that are cut off, damaged or hostile, through LoadImage."""
from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
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
    png_chunk,
    tiff,
    with_jpeg_size,
)
from PIL import Image

from amt_mm.datasets.encoded_image import MAX_PIXELS, check_image
from amt_mm.datasets.transforms import LoadImage, UnreadableImageError

TESTS = Path(__file__).parents[1]
TURNED = Image.Exif()
TURNED[0x112] = 6


def load(path: Path, content: bytes, **kwargs) -> np.ndarray | None:
    """Return the image that LoadImage makes of bytes, None if refused."""
    path.write_bytes(content)
    try:
        return LoadImage(**kwargs)(dict(img_path=str(path)))['img']
    except UnreadableImageError as error:
        assert str(path) in str(error)
        return None


def pillow(content: bytes) -> np.ndarray:
    """Return Pillow's own decode of the first picture, BGR."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert('RGB'))[..., ::-1]


WHOLE = {
    'jpeg': encode(noise(), 'JPEG', exif=TURNED),
    'progressive': encode(noise(), 'JPEG', progressive=True),
    'png': encode(noise(16, 16), 'PNG'),
    'interlaced_png': cv2.imencode('.png', np.asarray(noise(16, 16)))[1]
    .tobytes(),
    'apng': encode(noise(8, 8), 'PNG', save_all=True,
                   append_images=[noise(8, 8, seed=1)]),
    'webp': encode(noise(), 'WEBP'),
    'lossless_webp': encode(noise(16, 16), 'WEBP', lossless=True),
    'animated_webp': encode(noise(16, 16), 'WEBP', save_all=True,
                            append_images=[noise(16, 16, seed=1)]),
    'bmp': encode(noise(16, 16), 'BMP'),
    'tiff': encode(noise(16, 16), 'TIFF'),
    'lzw_tiff': encode(noise(16, 16), 'TIFF', compression='tiff_lzw'),
    'deflate_tiff': encode(noise(16, 16), 'TIFF',
                           compression='tiff_adobe_deflate'),
    'ppm': encode(noise(16, 16), 'PPM'),
    'gif': encode(noise(16, 16), 'GIF'),
    'avif': encode(noise(16, 16), 'AVIF'),
}


@pytest.mark.parametrize('name', WHOLE)
def test_cut_anywhere_is_an_error_or_the_whole_picture(tmp_path, name):
    content, path = WHOLE[name], tmp_path / 'x.jpg'
    whole = load(path, content)
    assert whole is not None
    for length in range(len(content)):
        found = load(path, content[:length])
        assert found is None or np.array_equal(found, whole), length
    for tail in (b'\0' * 1000, b'\n', b'<html>'):  # whole, and more
        np.testing.assert_array_equal(load(path, content + tail), whole)


@pytest.mark.parametrize('filling', ['nothing', 'zeros', 'page'])
@pytest.mark.parametrize('name', ['jpeg', 'progressive', 'png', 'webp'])
def test_a_lost_tail_is_an_error(tmp_path, name, filling):
    """A download that stopped, on a disk that had the space reserved."""
    content = WHOLE[name]
    for length in range(20, len(content) - 12, 7):
        lost = len(content) - length
        tail = dict(nothing=b'', zeros=bytes(lost),
                    page=b'<html>502 Bad Gateway' * 100)[filling]
        if name == 'webp' and filling != 'nothing':
            continue  # its length is right: nothing tells
        assert load(tmp_path / 'x', content[:length] + tail) is None, length


def test_a_cut_photograph(tmp_path, unpack):
    rng = np.random.default_rng(0)
    photos = sorted((unpack('imagenet_native200') / 'val').glob('*'))
    for photo in photos[::10]:
        content = photo.read_bytes()
        whole = LoadImage()(dict(img_path=str(photo)))['img']
        ends = rng.integers(1, len(content), 5).tolist()
        for length in (*ends, len(content) - 3, len(content) - 1):
            for tail in (b'', bytes(len(content) - length)):
                found = load(tmp_path / 'x.JPEG', content[:length] + tail)
                assert found is None or np.array_equal(found, whole)


def test_a_flipped_bit_of_a_png_is_an_error(tmp_path):
    """All of its bytes are under a checksum but for those of the lengths."""
    content = WHOLE['png']
    whole = load(tmp_path / 'x.png', content)
    for at in range(len(content)):
        for bit in (0, 3, 7):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            found = load(tmp_path / 'x.png', bytes(damaged))
            assert found is None or np.array_equal(found, whole), (at, bit)


@pytest.mark.parametrize('name', [
    'jpeg', 'progressive', 'webp', 'tiff', 'lzw_tiff', 'bmp', 'gif', 'avif'])
def test_flipped_bits_break_nothing_but_the_picture(tmp_path, name):
    """They have no checksum: an error, or other pixels, but no crash."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(WHOLE[name])
        for at in rng.integers(0, len(damaged), 3):
            damaged[at] ^= 1 << rng.integers(8)
        found = load(tmp_path / 'x', bytes(damaged), max_pixels=1_000_000)
        assert found is None or (found.ndim, found.dtype) == (3, np.uint8)


# ---- bombs


SMALL_MEMORY = """
import resource, sys
sys.path[:0] = [{tests!r}]
from image_bytes import bombs
from amt_mm.datasets.transforms import LoadImage, UnreadableImageError
used = next(int(line.split()[1]) << 10 for line in open('/proc/self/status')
            if line.startswith('VmSize'))
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), ) * 2)
for name, content in bombs().items():
    with open(name, 'wb') as file:
        file.write(content)
    try:
        LoadImage()(dict(img_path=name))
    except UnreadableImageError as error:
        sys.stdout.write(str(error) + '\\n')
"""


@pytest.mark.skipif(not Path('/proc/self/status').exists(),
                    reason='needs Linux')
def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', SMALL_MEMORY.format(tests=str(TESTS))],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={'PYTHONPATH': str(TESTS.parent), 'OMP_NUM_THREADS': '1',
             'PATH': ''})
    lines = [line for line in done.stdout.splitlines() if 'cannot' in line]
    assert len(lines) == len(bombs())
    for name, line in zip(bombs(), lines, strict=True):
        assert f'cannot read the image {name}: ' in line
        assert 'MemoryError' not in line
        if not name.endswith(('.webp', '.avif')):  # Pillow's own words
            assert f'have 1 to max_pixels {MAX_PIXELS:,} pixels, got' in line


def test_the_limit_is_the_last_size_that_is_taken(tmp_path):
    content = encode(noise(20, 30), 'PNG')
    assert load(tmp_path / 'x.png', content, max_pixels=600) is not None
    assert load(tmp_path / 'x.png', content, max_pixels=599) is None


@pytest.mark.parametrize('value', [0, -1, 1.5, None])
def test_max_pixels_is_checked(value):
    with pytest.raises(ValueError, match='max_pixels must be an integer >= 1'):
        LoadImage(max_pixels=value)


def test_a_file_larger_than_its_pixels_can_be(tmp_path):
    path = tmp_path / 'sparse.jpg'
    with open(path, 'wb') as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableImageError, match=(
            r'at most 1,448,432,976 bytes for max_pixels 178,956,970, got '
            r'1,099,511,627,776')):
        LoadImage()(dict(img_path=str(path)))


def test_chunks_that_claim_what_is_not_there(tmp_path):
    animation = png_chunk(b'acTL', struct.pack('>II', 0x7fffffff, 0))
    frame = png_chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, 60000, 60000, 0,
                                           0, 1, 1, 0, 0))
    rows = bytes(8 * 25)
    whole = load(tmp_path / 'x.png', png(8, 8, content=rows))
    assert not whole.any()
    found = load(tmp_path / 'x.png',
                 png(8, 8, animation, frame, content=rows))
    assert found is None or np.array_equal(found, whole)
    chunk = struct.pack('>I', 0x7ffffff0) + b'tEXt'
    assert load(tmp_path / 'x.png', png(8, 8, chunk, content=rows)) is None


# ---- unusual files


def grey(dtype: type, factor: float = 1) -> Image.Image:
    values = np.asarray(noise().convert('L'), dtype)
    return Image.fromarray((values * factor).astype(dtype))


def rgb_16(ending: str) -> bytes:
    pixels = np.asarray(noise(), np.uint16)[..., ::-1] * 257
    return cv2.imencode(ending, pixels)[1].tobytes()


@pytest.mark.parametrize('name', UNUSUAL)
def test_unusual_files_have_pillows_pixels(tmp_path, name):
    found = load(tmp_path / name, UNUSUAL[name])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pillow(UNUSUAL[name]))


def test_cmyk_has_pillows_pixels(tmp_path):
    content = encode(noise().convert('CMYK'), 'JPEG', quality=95)
    found = load(tmp_path / 'cmyk.jpg', content).astype(int)
    assert np.abs(found - pillow(content)).max() <= 1  # rounding


@pytest.mark.parametrize('content', [
    encode(grey(np.uint16, 257), 'PNG'), encode(grey(np.uint16, 257), 'TIFF'),
    b'P5 64 48 65535\n' + (np.asarray(noise().convert('L'), '>u2') * 257)
    .astype('>u2').tobytes()], ids=['png', 'tiff', 'pgm'])
def test_16_bits_are_scaled(tmp_path, content):
    expected = np.asarray(noise().convert('L').convert('RGB'))
    np.testing.assert_array_equal(load(tmp_path / 'x', content), expected)
    # where Pillow would clip nearly all to white, it is not asked
    assert load(tmp_path / 'x', content, imdecode_backend='pillow') is None


def levels_of_12_bits(form: str) -> tuple[bytes, np.ndarray]:
    """Return a picture of 12 bits in a file of 16, and as 8 bits."""
    levels = np.asarray(noise().convert('L'), np.uint16) * 16 + 15
    return encode(Image.fromarray(levels), form), (levels >> 4).astype('u1')


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_white_level_is_white(tmp_path, form):
    content, expected = levels_of_12_bits(form)
    dark = load(tmp_path / 'x', content)
    assert dark.max() < 16
    found = load(tmp_path / 'x', content, white_level=4095)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.stack([expected] * 3, -1))
    found = load(tmp_path / 'x', content, white_level=4095,
                 color_type='grayscale')
    np.testing.assert_array_equal(found, expected)
    # what is lighter than white is white
    found = load(tmp_path / 'x', content, white_level=2047)[..., 0]
    np.testing.assert_array_equal(found, np.minimum(expected * 2. + 1, 255))
    assert LoadImage().levels(str(tmp_path / 'x'))[1] > 2047


@pytest.mark.parametrize('name', [*UNUSUAL, *WHOLE])
def test_white_level_leaves_8_bits_alone(tmp_path, name):
    content = {**UNUSUAL, **WHOLE}[name]
    expected = load(tmp_path / name, content)
    assert LoadImage().levels(str(tmp_path / name)) is None
    np.testing.assert_array_equal(
        load(tmp_path / name, content, white_level=4095), expected)


@pytest.mark.parametrize('options', [
    dict(imdecode_backend='pillow'), dict(color_type='unchanged'),
    dict(imdecode_backend='tifffile', color_type='unchanged')])
def test_white_level_needs_opencv(options):
    with pytest.raises(ValueError, match="white_level needs .*'cv2' and"):
        LoadImage(white_level=4095, **options)


@pytest.mark.parametrize('value', [0, 65536, 1.5, True, '4095', None])
def test_white_level_is_one_of_16_bits(value):
    with pytest.raises((ValueError, TypeError), match='white_level'):
        LoadImage(white_level=value)


def test_white_level_and_inverted_levels(tmp_path):
    path = tmp_path / 'x.tif'
    path.write_bytes(tiff(PhotometricInterpretation=0, BitsPerSample=16,
                          StripByteCounts=128))
    with pytest.raises(UnreadableImageError, match='level 0 is black'):
        LoadImage(white_level=4095)(dict(img_path=str(path)))


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
    with pytest.raises(ValueError, match="color_type must be 'unchanged'"):
        LoadImage(imdecode_backend='tifffile')


@pytest.mark.parametrize('ending', ['.png', '.tiff'])
def test_colour_in_16_bits_is_scaled(tmp_path, ending):
    expected = np.asarray(noise())[..., ::-1]
    np.testing.assert_array_equal(
        load(tmp_path / f'x{ending}', rgb_16(ending)), expected)


REFUSED = {
    'empty.jpg': (b'', 'no image: 0 bytes'),
    'text.jpg': (b'this is no image', 'no image: 16 bytes, which begin with'),
    'page.jpg': (b'<html>' * 9, 'no image'),
    'vector.png': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'no image'),
    # Pillow would start Ghostscript
    'script.webp': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'
                    b'%%EndComments\nshowpage\n', 'no image'),
    'float.tif': (encode(grey(np.float32), 'TIFF'),
                  'must hold unsigned integers, got SampleFormat'),
    'unit_float.tif': (encode(grey(np.float32, 1 / 255), 'TIFF'),
                       'must hold unsigned integers, got SampleFormat'),
    'colour_float.tif': (cv2.imencode('.tiff', np.ones(
        (8, 8, 3), np.float32))[1].tobytes(), 'got SampleFormat'),
    'signed.tif': (encode(grey(np.int32), 'TIFF'), 'got SampleFormat [2]'),
    '32_bits.tif': (tiff(BitsPerSample=32, StripByteCounts=256), 'decoded'),
    'bands.tif': (tiff(SamplesPerPixel=13, BitsPerSample=16),
                  'got 13 samples a pixel, 0 of them alpha.'),
    'grey_and_more.tif': (tiff(SamplesPerPixel=3), 'got 3 samples a pixel'),
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
    'float.pfm': (b'Pf 2 2 -1.0\n' + bytes(16), 'no image'),
}


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('name', REFUSED)
def test_refused_files_say_why(tmp_path, name, backend):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    if name == '32_bits.tif' and backend == 'pillow':
        message = 'read the image'  # whatever Pillow says of it
    with pytest.raises(UnreadableImageError) as caught:
        LoadImage(imdecode_backend=backend)(
            dict(img_path=str(tmp_path / name)))
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert LoadImage().levels(str(tmp_path / name)) is None


def test_trailing_pictures_do_not_stand_for_a_cut_first(tmp_path):
    """A thumbnail's end within the header is not the end of the file."""
    thumbnail = encode(noise(16, 16), 'JPEG')
    whole = encode(noise(), 'JPEG')
    segment = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    content = whole[:2] + segment + whole[2:]
    assert load(tmp_path / 'x.jpg', content) is not None
    assert load(tmp_path / 'x.jpg', content[:-200]) is None
    assert load(tmp_path / 'x.jpg', content[:-200] + bytes(200)) is None
    check_image(content + b'more')
