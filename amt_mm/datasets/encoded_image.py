"""Look into an encoded image before it is decoded.

Decoders give what they have of a file that was cut off, and allocate what a
header asks for. Both are found here from the bytes, for next to nothing.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from .image_formats import (
    Size,
    Wanted,
    bmp_size,
    check_jpeg,
    check_png,
    check_pnm_levels,
    check_tiff_pixels,
    check_webp,
    jpeg_size,
    png_size,
    pnm_size,
    size_by_pillow,
    tiff_size,
    webp_size,
)

# what Pillow refuses as a bomb
MAX_PIXELS = 178_956_970
# a pixel of four channels in 16 bits, and what surrounds the pixels
BYTES_PER_PIXEL, BYTES_AROUND = 8, 1 << 24


def check_file(path: str | os.PathLike[str], max_pixels: int) -> None:
    """Refuse a local file that never ends, or is too large for its pixels.

    A file that is not here passes: it is absent, or of another backend.

    Raises:
        ValueError: If it is no regular file, or too large.
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


class Kind(NamedTuple):
    """A format of image files.

    Attributes:
        signature (re.Pattern): What its files begin with.
        size (Callable): Reads (width, height) from a file's header.
        check (Callable, optional): Refuses a file that is not whole, where a
            decoder might not.
        decoder (str): mmcv's name of the decoder that gets its pixels right.
        check_pixels (Callable, optional): Refuses a file whose pixels that
            decoder would not make as wanted.
    """

    signature: re.Pattern[bytes]
    size: Callable[[bytes], Size]
    check: Callable[[bytes], None] | None = None
    decoder: str = 'cv2'
    check_pixels: Callable[[bytes, Wanted], None] | None = None


def check_image(content: bytes, max_pixels: int = MAX_PIXELS) -> Kind:
    """Return the kind of an image that is whole and not too large.

    Raises:
        ValueError: If it is cut off, too large, or of no known kind.
    """
    kind = next((k for k in KINDS if k.signature.match(content)), None)
    if kind is None:
        raise ValueError(
            f'it is no image: {len(content):,} bytes, which begin with '
            f'{content[:8]!r}')
    try:
        width, height = kind.size(content)
    except (LookupError, struct.error, TypeError, SyntaxError, OSError,
            Image.DecompressionBombError) as error:
        raise ValueError(f'its header is damaged: {error!r}') from error
    if not 0 < width * height <= max_pixels:
        raise ValueError(
            f'the image must have 1 to max_pixels {max_pixels:,} pixels, got '
            f'{width} x {height} = {width * height:,}')
    if kind.check:
        kind.check(content)
    return kind


KINDS = (
    Kind(re.compile(rb'\xff\xd8\xff'), jpeg_size, check_jpeg),
    Kind(re.compile(rb'\x89PNG\r\n\x1a\n'), png_size, check_png),
    # OpenCV does not turn WebP as its EXIF orientation says
    Kind(re.compile(rb'RIFF....WEBP', re.DOTALL), webp_size, check_webp,
         'pillow'),
    Kind(re.compile(rb'BM'), bmp_size),
    Kind(re.compile(rb'II[*+]\0|MM\0[*+]'), tiff_size,
         check_pixels=check_tiff_pixels),
    Kind(re.compile(rb'P[1-6]\s'), pnm_size,
         check_pixels=check_pnm_levels),
    Kind(re.compile(rb'GIF8[79]a'), size_by_pillow('GIF'), decoder='pillow'),
    Kind(re.compile(rb'....ftypavi[fs]', re.DOTALL), size_by_pillow('AVIF'),
         decoder='pillow'),
)
