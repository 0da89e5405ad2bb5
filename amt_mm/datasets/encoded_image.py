"""Look into an encoded image before it is decoded.

Decoders give what they have of a file that was cut off, and allocate what a
header asks for. Here Pillow reads the header alone, and decodes nothing.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from math import prod
from typing import Any, NamedTuple

from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

# what Pillow refuses as a bomb
MAX_PIXELS = 178_956_970
# a pixel of four channels in 16 bits, and what surrounds the pixels
BYTES_PER_PIXEL, BYTES_AROUND = 8, 1 << 24
# what files begin with; Pillow has more formats, and runs Ghostscript for one
SIGNATURES = {
    'JPEG': re.compile(rb'\xff\xd8\xff'),
    'PNG': re.compile(rb'\x89PNG\r\n\x1a\n'),
    'WEBP': re.compile(rb'RIFF....WEBP', re.DOTALL),
    'BMP': re.compile(rb'BM'),
    'TIFF': re.compile(rb'II[*+]\0|MM\0[*+]'),
    'PPM': re.compile(rb'P[1-6]\s'),
    'GIF': re.compile(rb'GIF8[79]a'),
    'AVIF': re.compile(rb'....ftypavi[fs]', re.DOTALL),
}
# OpenCV reads no GIF, and does not turn WebP by its EXIF orientation
BY_PILLOW = 'WEBP', 'GIF', 'AVIF'
PPM_HEADER = re.compile(rb'P([1-6])' + rb'(?:\s|#[^\n]*\n)+(\d+)' * 2
                        + rb'(?:(?:\s|#[^\n]*\n)+(\d+))?')
UNSIGNED, WHITE_IS_ZERO, ALPHA = 1, 0, (1, 2)
# samples of a colour by the photometric interpretation: white or black is
# zero, a palette, inks; all others have three
TIFF_COLOURS = {0: 1, 1: 1, 3: 1, 5: 4}
# what tifffile, and what ImageJ and OME, say of channels that are pages
TIFF_SHAPE = re.compile(r'\{"shape": \[([\d, ]+)\]')
TIFF_CHANNELS = re.compile(r'^channels=(\d+)|\bSizeC="(\d+)"', re.MULTILINE)
MAX_LENGTH = 500


class Header(NamedTuple):
    """What the header of an image file says."""

    kind: str  # the format, as Pillow names it
    width: int  # in pixels, of a tile if that is larger
    height: int
    # what the format has besides: the tags of a TIFF file, the greatest level
    # of a PNM file, else the image that Pillow has opened and not decoded
    details: Any

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow decodes it better than OpenCV."""
        return self.kind in BY_PILLOW

    @property
    def orientation(self) -> int:
        """The EXIF orientation of a JPEG file, 1 where it has none."""
        return self.details.getexif().get(Tag.Orientation, 1)


def check_file(path: str | os.PathLike[str], max_pixels: int) -> None:
    """Raise ValueError if a local file never ends, or is too large.

    A file that is not here passes: it is absent, or of another backend.
    """
    try:
        found = os.stat(path)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise ValueError('it is no regular file')
    limit = BYTES_PER_PIXEL * max_pixels + BYTES_AROUND
    if found.st_size > limit:
        raise ValueError(
            f'the file must have at most {limit:,} bytes for max_pixels '
            f'{max_pixels:,}, got {found.st_size:,}')


def check_image(content: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Return the header of an image that is whole and not too large.

    Raises:
        ValueError: If it is cut off, too large, or of no known format.
    """
    kind = next((k for k, start in SIGNATURES.items() if start.match(content)),
                None)
    if kind is None:
        raise ValueError(
            f'it is no image: {len(content):,} bytes, which begin with '
            f'{content[:8]!r}')
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of tags that do not matter here
            header = _read_header(kind, file)
    except Exception as error:  # Pillow's plugins have errors of many kinds
        raise ValueError(f'its header is damaged: {error!r}') from error
    width, height = header.width, header.height
    if not 0 < width * height <= max_pixels:
        raise ValueError(
            f'the image must have 1 to max_pixels {max_pixels:,} pixels, got '
            f'{width} x {height} = {width * height:,}')
    _check_end(header, file)
    return header


def _read_header(kind: str, file: io.BytesIO) -> Header:
    """Read a header, without the limit that Pillow's ``open`` has."""
    if kind == 'PPM':
        found = PPM_HEADER.match(file.getvalue())
        if not found:
            raise LookupError('no size')
        levels = b'255' if found[1] in b'14' else found[4]
        return Header(kind, int(found[2]), int(found[3]), levels)
    if kind == 'TIFF':
        tags = _tiff_tags(file)
        # a tile may be larger than the image, and is allocated whole
        width, height = (
            max(tags[side], tags.get(tile, 0))
            for side, tile in ((Tag.ImageWidth, Tag.TileWidth),
                               (Tag.ImageLength, Tag.TileLength)))
        return Header(kind, width, height, tags)
    if kind == 'JPEG':  # the class itself: the pictures after it do not count
        image: Any = JpegImageFile(file)
    else:
        Image.init()
        image = Image.OPEN[kind][0](file, '')
    width, height = image.size
    return Header(kind, width, height, image)


def _tiff_tags(file: io.BytesIO) -> ImageFileDirectory_v2:
    """Read the tags of the first page."""
    start = file.read(8)
    tags = ImageFileDirectory_v2(
        start + file.read(8) if b'+' in start[2:4] else start)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _check_end(header: Header, file: io.BytesIO) -> None:
    """Raise ValueError if a file is cut off, which a decoder may not see."""
    content = file.getvalue()
    if header.kind == 'JPEG':
        # Pillow stops at the scan, in which nothing else looks like the end
        end = b'\xff\xd9'
        if not (content.endswith(end) or end in content[file.tell():]):
            raise ValueError('it is cut off: a JPEG file without its end')
    elif header.kind == 'PNG':
        try:
            header.details.verify()
        except Exception as error:
            raise ValueError('it is cut off, or a checksum of the PNG file '
                             f'is wrong: {error!r}') from error
    elif header.kind == 'WEBP':
        length = 8 + int.from_bytes(content[4:8], 'little')
        if len(content) < length:
            raise ValueError(f'it is cut off: {len(content):,} of {length:,} '
                             'bytes of a WebP file')


def check_pixels(header: Header, all_channels: bool,
                 scaled_levels: bool) -> None:
    """Raise ValueError if OpenCV makes other pixels than an image has.

    The pixels come out with all channels that the file has, or with three; and
    perhaps from levels that do not fill 16 bits.
    """
    if header.kind == 'PPM' and header.details not in (b'255', b'65535'):
        raise ValueError('the greatest value of a PNM image must be 255 or '
                         f'65535, got {header.details!r}')
    if header.kind != 'TIFF':
        return
    tags = header.details
    found = tags.get(Tag.SampleFormat, UNSIGNED)
    formats = {*found} if isinstance(found, tuple) else {found}
    if formats != {UNSIGNED}:
        raise ValueError('a TIFF image must hold unsigned integers, got '
                         f'SampleFormat {sorted(formats)}')
    if scaled_levels and tags.get(
            Tag.PhotometricInterpretation) == WHITE_IS_ZERO:
        raise ValueError('white_level needs a TIFF image whose level 0 is '
                         'black, got PhotometricInterpretation 0')
    if not all_channels and (channels := _other_channels(tags)):
        raise ValueError(
            'a TIFF image must be grey, a palette, RGB or CMYK, with or '
            f'without alpha, to come out as 3 channels, got {channels}. '
            "LoadImage(color_type='unchanged', imdecode_backend='tifffile') "
            'takes all, for a model of as many in_channels')


def _other_channels(tags: ImageFileDirectory_v2) -> str:
    """Describe the channels of which a decoder to colour takes the first."""
    samples = tags.get(Tag.SamplesPerPixel, 1)
    extra = samples - TIFF_COLOURS.get(
        tags.get(Tag.PhotometricInterpretation, -1), 3)
    # a single one that nothing is said of is alpha, as libtiff has it
    kinds = tags.get(Tag.ExtraSamples, ALPHA[:extra == 1]) if extra else ()
    num_alpha = sum(kind in ALPHA for kind in kinds)
    if extra > num_alpha:
        return f'{samples} samples a pixel, {num_alpha} of them alpha'
    description = str(tags.get(Tag.ImageDescription, ''))
    page = tags[Tag.ImageLength], tags[Tag.ImageWidth], samples
    shape = TIFF_SHAPE.match(description)
    if shape and prod(map(int, shape[1].split(','))) > prod(page):
        return (f'an array of shape ({shape[1]}) in pages of '
                f'{page[0]} x {page[1]}')
    counts = [max(map(int, filter(None, found)))
              for found in TIFF_CHANNELS.findall(description)]
    if max(counts, default=1) > samples:
        return f'{max(counts)} channels in pages of {samples}'
    return ''


def printable(name: str | os.PathLike[str]) -> str:
    """Escape control characters and broken UTF-8; shorten what is long."""
    text = ''.join(
        c if c.isprintable() else repr(c)[1:-1] for c in os.fspath(name))
    if len(text) <= MAX_LENGTH:
        return text
    half = MAX_LENGTH // 2
    return f'{text[:half]}...{text[-half:]}'
