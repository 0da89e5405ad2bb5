"""Load an image, or raise an error that names the file.

Decoders give what they have of a file that was cut off, and allocate what a
header asks for. So Pillow reads the header first, and decodes nothing.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from math import prod
from typing import Any, NamedTuple

import cv2
import mmcv
import numpy as np
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from amt_mm.arguments import check_bool, check_int, check_number
from amt_mm.datasets.nodata import Loaded, fill_missing, opaque_pixels
from amt_mm.registry import TRANSFORMS

WHITE = 65535
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
# a tile may be larger than the image, and is allocated whole
TIFF_SIDES = ((Tag.ImageWidth, Tag.TileWidth),
              (Tag.ImageLength, Tag.TileLength))
UNSIGNED, WHITE_IS_ZERO, ALPHA = 1, 0, (1, 2)
# samples of a colour by the photometric interpretation: white or black is
# zero, a palette, inks; all others have three
TIFF_COLOURS = {0: 1, 1: 1, 3: 1, 5: 4}
# what tifffile, and what ImageJ and OME, say of channels that are pages
TIFF_SHAPE = re.compile(r'\{"shape": \[([\d, ]+)\]')
TIFF_CHANNELS = re.compile(r'^channels=(\d+)|\bSizeC="(\d+)"', re.MULTILINE)
SHOWN = 250  # of a long name, from each end


class UnreadableImageError(ValueError):
    """An image file is missing, damaged or no image; the message names it."""


class Header(NamedTuple):
    """What the header of an image file says."""

    kind: str  # the format, as Pillow names it
    width: int  # in pixels, of a tile if that is larger
    height: int
    # the tags of a TIFF file, the greatest level of a PNM file, else the
    # image that Pillow has opened and not decoded
    details: Any


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` with errors for files that are damaged.

    JPEG (also CMYK), PNG (also palette, alpha, 16 bit), WebP, BMP, PNM and
    TIFF become 3-channel uint8, turned by their EXIF orientation; so do GIF
    and AVIF, where the data set takes them. Alpha is dropped, 16 bits
    are divided by 256, and of several pictures in a file the first is taken.
    The format follows from the first bytes, not from the name. A file of other
    channels is an error, unless ``color_type='unchanged'`` asks for all.
    Pixels without data get the mean colour of the others before anything is
    resized; ``AMTMaskGenerator`` masks no patch of theirs.

    A file that is cut off, or larger than ``max_pixels``, is an error before
    it is decoded; a PNG file also where its checksums differ. Other formats
    have none: damage amidst their pixels shows if it breaks the decoding.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img, img_shape, ori_shape
    - data_mask (np.ndarray): (H, W) bool, which pixels of ``img`` hold data;
      only with ``nodata``, and if some do not.

    Args:
        max_pixels (int): Height times width that an image may have.
            Defaults to 178,956,970, as in Pillow.
        keep_last (bool): Whether to keep the last image, for a sampler that
            asks for it again next, such as ``RepeatSampler``; it is then
            read-only. Defaults to False.
        keep_all (bool): Whether each worker keeps all images that it has
            decoded, read-only, which suits small ones: 22,000 of 64 x 64
            pixels take 270 MB a worker. Defaults to False.
        white_level (int): The level that is white in images of 16 bits, such
            as 4095 where they hold 12 bits; what is lighter is white, too.
            Defaults to 65535.
        nodata (float | str, optional): The level, of the 8 bits that come out,
            that all channels of a pixel without data have, or ``'alpha'``: a
            pixel is without data where the alpha channel is 0. Defaults to
            None, every pixel holds data.
        **kwargs: Those of :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        UnreadableImageError: If it cannot be decoded, or holds no data.
    """

    def __init__(self,
                 max_pixels: int = MAX_PIXELS,
                 keep_last: bool = False,
                 keep_all: bool = False,
                 white_level: int = WHITE,
                 nodata: float | str | None = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_pixels = check_int('max_pixels', max_pixels, 1)
        self.keep_last = check_bool('keep_last', keep_last)
        self.keep_all = check_bool('keep_all', keep_all)
        self.white_level = check_int('white_level', white_level, 1, WHITE)
        levels = np.arange(WHITE + 1) * 256 // (white_level + 1)
        self._to_8_bits = levels.clip(max=255).astype(np.uint8)
        self.all_channels = self.color_type == 'unchanged'
        self.scaled_levels = white_level < WHITE
        self.nodata = self._check_nodata(nodata)
        self._all: dict[str, Loaded] = {}
        self._last: tuple[tuple, np.ndarray] | None = None
        backend, color_type = self.imdecode_backend, self.color_type
        if backend == 'tifffile' and not self.all_channels:
            raise ValueError(
                "imdecode_backend 'tifffile' converts nothing: color_type "
                f"must be 'unchanged', got {color_type!r}.")
        if self.scaled_levels and (self.all_channels or backend != 'cv2'):
            raise ValueError(
                "white_level needs imdecode_backend 'cv2' and a color_type "
                f"other than 'unchanged', got {backend!r} and {color_type!r}.")

    def _check_nodata(self, nodata: Any) -> float | str | None:
        """Return what marks pixels without data, or raise an error."""
        if nodata is None or (nodata == 'alpha' and not self.all_channels):
            return nodata
        if isinstance(nodata, str):
            raise ValueError(
                "nodata must be a number or, with a color_type other than "
                f"'unchanged', 'alpha', got {nodata!r} and color_type "
                f'{self.color_type!r}.')
        return check_number('nodata', nodata, '(-inf, inf)')

    def levels(self, path: str) -> tuple[int, int] | None:
        """Return the range of levels of 16 bits, None of other files."""
        try:
            content, header = self.read(path)
            check_pixels(header, self.all_channels, self.scaled_levels)
        except Exception:  # transform raises it
            return None
        if header.kind in (*BY_PILLOW, 'JPEG'):
            return None
        image = cv2.imdecode(np.frombuffer(content, np.uint8),
                             cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if image is None or image.dtype != np.uint16:
            return None
        return int(image.min()), int(image.max())

    def transform(self, results: dict) -> dict | None:
        """Load ``img_path`` into ``img`` (H, W, 3) BGR."""
        path = results['img_path']
        try:
            loaded = self._all.get(path) or self._load(path, results)
        except Exception as error:  # each decoder has errors of its own
            if self.ignore_empty:
                return None
            raise UnreadableImageError(
                f'cannot read the image {printable(path)}: '
                f'{printable(repr(error))}') from error
        image, data_mask = loaded
        if self.keep_all:
            image.flags.writeable = False  # the next epoch sees it, too
            self._all[path] = loaded
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        if data_mask is not None:
            results['data_mask'] = data_mask
        return results

    def _load(self, path: str, results: dict) -> Loaded:
        """Read and decode a file, and fill the pixels without data."""
        content, header = self.read(path)
        image = self._decode(content, header, results)
        if self.nodata is None:
            return image, None
        data_mask = opaque_pixels(content) if self.nodata == 'alpha' else (
            np.atleast_3d(image) != self.nodata).any(2)
        return fill_missing(image, data_mask)

    def read(self, path: str) -> tuple[bytes, Any]:
        """Return a file and its header, or raise OSError or ValueError."""
        check_file(path, self.max_pixels)
        if self.file_client_args is not None:
            content = fileio.FileClient.infer_client(
                self.file_client_args, path).get(path)
        else:
            content = fileio.get(path, backend_args=self.backend_args)
        return content, self._header(content)

    def _header(self, content: bytes) -> Any:
        """Return the header of an image, or raise ValueError."""
        return check_image(content, self.max_pixels)

    def _decode(self, content: bytes, header: Header,
                results: dict) -> np.ndarray:
        """Decode an image whose header was checked."""
        check_pixels(header, self.all_channels, self.scaled_levels)
        flag, backend = self.color_type, self.imdecode_backend
        if header.kind in BY_PILLOW:
            backend = 'pillow'
        elif backend == 'pillow':
            with Image.open(io.BytesIO(content)) as image:
                if image.mode[0] in 'IF':  # it would clip, not scale
                    raise ValueError(
                        'images of more than 8 bits need imdecode_backend '
                        f"'cv2', got 'pillow' and mode {image.mode}")
        elif self.scaled_levels:
            flag = imread_flags[flag] | cv2.IMREAD_ANYDEPTH
        return self._pixels(content, flag, backend)

    def _pixels(self, content: bytes, flag: str | int,
                backend: str) -> np.ndarray:
        """Return the pixels, those of the last image at no cost."""
        key = content, flag, backend
        if self.keep_last and self._last and self._last[0] == key:
            return self._last[1]
        image = mmcv.imfrombytes(content, flag=flag, backend=backend)
        if image is None:
            raise ValueError('it cannot be decoded')
        if self.scaled_levels and image.dtype == np.uint16:
            image = self._to_8_bits[image]
        if self.keep_last:
            image.flags.writeable = False  # what follows may come again
            self._last = key, image
        return image


def check_file(path: str | os.PathLike[str], max_pixels: int) -> None:
    """Raise ValueError if a local file never ends, or is too large."""
    try:
        found = os.stat(path)
    except OSError:  # absent, or of another backend
        return
    if not stat.S_ISREG(found.st_mode):
        raise ValueError('it is not a regular file')
    limit = BYTES_PER_PIXEL * max_pixels + BYTES_AROUND
    if found.st_size > limit:
        raise ValueError(
            f'the file must have at most {limit:,} bytes for max_pixels '
            f'{max_pixels:,}, got {found.st_size:,}')


def check_image(content: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Return the header, or raise ValueError if cut off, large or unknown."""
    kind = next((k for k, start in SIGNATURES.items() if start.match(content)),
                None)
    if kind is None:
        raise ValueError(
            f'it is not an image: {len(content):,} bytes, which begin with '
            f'{content[:8]!r}')
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of tags that do not matter here
            _, width, height, _ = header = _read_header(kind, file)
    except Exception as error:  # Pillow's plugins have errors of many kinds
        raise ValueError(f'its header is damaged: {error!r}') from error
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
        start = file.read(8)  # the tags of the first page follow
        tags = ImageFileDirectory_v2(
            start + file.read(8) if b'+' in start[2:4] else start)
        file.seek(tags.next)
        tags.load(file)
        width, height = (max(tags[side], tags.get(tile, 0))
                         for side, tile in TIFF_SIDES)
        return Header(kind, width, height, tags)
    if kind == 'JPEG':  # the class itself: the pictures after it do not count
        image: Any = JpegImageFile(file)
    else:
        Image.init()
        image = Image.OPEN[kind][0](file, '')
    width, height = image.size
    return Header(kind, width, height, image)


def _check_end(header: Header, file: io.BytesIO) -> None:
    """Raise ValueError if a file is cut off, which a decoder may not see."""
    content, end = file.getvalue(), b'\xff\xd9'
    if header.kind == 'JPEG':
        # Pillow stops at the scan, in which nothing else looks like the end
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
    """Raise ValueError if OpenCV makes other pixels than an image has."""
    if header.kind == 'PPM' and header.details not in (b'255', b'65535'):
        raise ValueError('the greatest value of a PNM image must be 255 or '
                         f'65535, got {header.details!r}')
    if header.kind != 'TIFF':
        return
    tags = header.details
    formats = {*np.atleast_1d(tags.get(Tag.SampleFormat, UNSIGNED)).tolist()}
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
    is_long = len(text) > 2 * SHOWN
    return f'{text[:SHOWN]}...{text[-SHOWN:]}' if is_long else text
