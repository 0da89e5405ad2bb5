"""What the headers and the ends of image files say, by format.

A size is (width, height). Each function takes a whole file.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from math import prod
from typing import NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Size = tuple[int, int]

# as libjpeg looks for the next marker: past stuffing and filling
MARKER = re.compile(rb'\xff+([^\x00\xff])')
FRAMES = {*range(0xc0, 0xd0)} - {0xc4, 0xc8, 0xcc}
SCAN, END, EXIF = 0xda, 0xd9, 0xe1
EXIF_ORIENTATION = 274
WITHOUT_LENGTH = {0x01, *range(0xd0, 0xd8)}
PNM = re.compile(rb'P([1-6])' + rb'(?:\s|#[^\n]*\n)+(\d+)' * 2
                 + rb'(?:(?:\s|#[^\n]*\n)+(\d+))?')
TIFF_WIDTH, TIFF_HEIGHT, TIFF_SAMPLE_FORMAT = 256, 257, 339
TIFF_TILE = (322, 323)
TIFF_PHOTOMETRIC, TIFF_DESCRIPTION = 262, 270
TIFF_SAMPLES, TIFF_EXTRA_SAMPLES = 277, 338
UNSIGNED, WHITE_IS_ZERO = 1, 0
ALPHA = 1, 2
# samples of a colour by the photometric interpretation: white or black is
# zero, a palette, inks; all others have three
TIFF_COLOURS = {0: 1, 1: 1, 3: 1, 5: 4}
# what tifffile, and what ImageJ and OME, say of channels that are pages
TIFF_SHAPE = re.compile(r'\{"shape": \[([\d, ]+)\]')
TIFF_CHANNELS = re.compile(r'^channels=(\d+)|\bSizeC="(\d+)"', re.MULTILINE)


def _jpeg_markers(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG file and where their content begins."""
    at = 2
    while found := MARKER.search(content, at):
        marker, at = found[1][0], found.end()
        yield marker, at
        if marker not in WITHOUT_LENGTH:
            at += int.from_bytes(content[at:at + 2], 'big')


def jpeg_size(content: bytes) -> Size:
    for marker, at in _jpeg_markers(content):
        if marker in FRAMES:
            height, width = struct.unpack_from('>HH', content, at + 3)
            return width, height
        if marker in (SCAN, END):
            break
    raise LookupError('no frame')


def jpeg_orientation(content: bytes) -> int:
    """Read the EXIF orientation, 1 where there is none."""
    for marker, at in _jpeg_markers(content):
        if marker == SCAN:
            break
        if marker == EXIF and content[at + 2:at + 8] == b'Exif\0\0':
            length = int.from_bytes(content[at:at + 2], 'big')
            exif = Image.Exif()
            exif.load(content[at + 2:at + length])
            return exif.get(EXIF_ORIENTATION, 1)
    return 1


def check_jpeg(content: bytes) -> None:
    """Refuse a JPEG file without its end, be it followed by other bytes."""
    if content.endswith(b'\xff\xd9'):
        return
    scanned = False
    for marker, _ in _jpeg_markers(content):
        scanned |= marker == SCAN
        if marker == END and scanned:
            return
    raise ValueError('it is cut off: a JPEG file without its end')


def png_size(content: bytes) -> Size:
    width, height = struct.unpack_from('>4xII', content, 12)
    return width, height


def check_png(content: bytes) -> None:
    """Refuse a PNG file without its end, or with a wrong checksum."""
    view, at, name = memoryview(content), 8, b''
    while name != b'IEND':
        if at + 12 > len(content):
            raise ValueError('it is cut off: a PNG file without its end')
        end = at + 12 + int.from_bytes(view[at:at + 4], 'big')
        name = bytes(view[at + 4:at + 8])
        if end > len(content):
            raise ValueError(f'it is cut off in its PNG chunk {name!r}')
        # of the others, which decoders may skip, only one moves pixels
        if (name[:1].isupper() or name == b'eXIf') and zlib.crc32(
                view[at + 4:end - 4]) != int.from_bytes(view[end - 4:end],
                                                        'big'):
            raise ValueError(f'the checksum of its PNG chunk {name!r} is '
                             'wrong')
        at = end


def webp_size(content: bytes) -> Size:
    """Read the canvas, for which Pillow allocates when it opens a file."""
    kind = content[12:16]
    if kind == b'VP8X':
        low, high, low2, high2 = struct.unpack_from('<HBHB', content, 24)
        return 1 + low + (high << 16), 1 + low2 + (high2 << 16)
    if kind == b'VP8L':
        bits, = struct.unpack_from('<I', content, 21)
        return 1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)
    width, height = struct.unpack_from('<HH', content, 26)
    return width & 0x3fff, height & 0x3fff


def check_webp(content: bytes) -> None:
    length = 8 + int.from_bytes(content[4:8], 'little')
    if len(content) < length:
        raise ValueError(f'it is cut off: {len(content):,} of {length:,} '
                         'bytes of a WebP file')


def _tiff_tags(content: bytes) -> ImageFileDirectory_v2:
    """Read the tags of the first page."""
    file = io.BytesIO(content)
    is_big = b'+' in content[2:4]
    tags = ImageFileDirectory_v2(file.read(16 if is_big else 8))
    file.seek(tags.next)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of tags that do not matter here
        tags.load(file)
    return tags


def tiff_size(content: bytes) -> Size:
    tags = _tiff_tags(content)
    sides = zip((TIFF_WIDTH, TIFF_HEIGHT), TIFF_TILE, strict=True)
    # a tile may be larger than the image, and is allocated whole
    width, height = (max(tags[side], tags.get(tile, 0))
                     for side, tile in sides)
    return width, height


class Wanted(NamedTuple):
    """How the pixels of an image are to come out.

    Attributes:
        channels_kept (bool): Whether with all channels that the file has.
        levels_scaled (bool): Whether from levels that do not fill 16 bits.
    """

    channels_kept: bool = False
    levels_scaled: bool = False


def check_tiff_pixels(content: bytes, wanted: Wanted) -> None:
    """Refuse what OpenCV turns into other pixels than an image has."""
    tags = _tiff_tags(content)
    found = tags.get(TIFF_SAMPLE_FORMAT, UNSIGNED)
    formats = {*found} if isinstance(found, tuple) else {found}
    if formats != {UNSIGNED}:
        raise ValueError('a TIFF image must hold unsigned integers, got '
                         f'SampleFormat {sorted(formats)}')
    if wanted.levels_scaled and tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        raise ValueError('white_level needs a TIFF image whose level 0 is '
                         'black, got PhotometricInterpretation 0')
    if not wanted.channels_kept and (found := _tiff_channels(tags)):
        raise ValueError(
            'a TIFF image must be grey, a palette, RGB or CMYK, with or '
            f'without alpha, to come out as 3 channels, got {found}. '
            "LoadImage(color_type='unchanged', imdecode_backend='tifffile') "
            'takes all, for a model of as many in_channels')


def _tiff_channels(tags: ImageFileDirectory_v2) -> str:
    """Describe the channels of which a decoder to colour takes the first."""
    samples = tags.get(TIFF_SAMPLES, 1)
    extra = samples - TIFF_COLOURS.get(tags.get(TIFF_PHOTOMETRIC, -1), 3)
    # a single one that nothing is said of is alpha, as libtiff has it
    kinds = tags.get(TIFF_EXTRA_SAMPLES, ALPHA[:extra == 1]) if extra else ()
    num_alpha = sum(kind in ALPHA for kind in kinds)
    if extra > num_alpha:
        return f'{samples} samples a pixel, {num_alpha} of them alpha'
    if TIFF_DESCRIPTION not in tags:
        return ''
    description = str(tags[TIFF_DESCRIPTION])
    page = tags[TIFF_HEIGHT], tags[TIFF_WIDTH], samples
    shape = TIFF_SHAPE.match(description)
    if shape and prod(map(int, shape[1].split(','))) > prod(page):
        return (f'an array of shape ({shape[1]}) in pages of '
                f'{page[0]} x {page[1]}')
    counts = [max(map(int, filter(None, found)))
              for found in TIFF_CHANNELS.findall(description)]
    if max(counts, default=1) > samples:
        return f'{max(counts)} channels in pages of {samples}'
    return ''


def _pnm_header(content: bytes) -> tuple[bytes, ...]:
    found = PNM.match(content)
    if not found:
        raise LookupError('no size')
    return found.groups()


def pnm_size(content: bytes) -> Size:
    _, width, height, _ = _pnm_header(content)
    return int(width), int(height)


def check_pnm_levels(content: bytes, wanted: Wanted) -> None:
    """Refuse levels that OpenCV takes as they are."""
    kind, *_, levels = _pnm_header(content)
    if kind not in b'14' and levels not in (b'255', b'65535'):
        raise ValueError('the greatest value of a PNM image must be 255 or '
                         f'65535, got {levels!r}')


def bmp_size(content: bytes) -> Size:
    header, = struct.unpack_from('<I', content, 14)
    # OS/2's first header is the only one with short sides
    form = '<HH' if header == 12 else '<ii'
    width, height = struct.unpack_from(form, content, 18)
    return abs(width), abs(height)


def size_by_pillow(*formats: str) -> Callable[[bytes], Size]:
    """Let Pillow read the header, which decodes nothing."""

    def size(content: bytes) -> Size:
        # only these: Pillow would hand PostScript to Ghostscript
        with Image.open(io.BytesIO(content), formats=formats) as image:
            return image.size

    return size
