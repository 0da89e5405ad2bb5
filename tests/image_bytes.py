"""Encode images, whole, cut and hostile."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def noise(height=48, width=64, seed=0):
    """Return a smooth RGB picture of random colours."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(cells).resize((width, height))


def encode(image, form, **options):
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(name, content):
    """Return a chunk with its checksum."""
    return (struct.pack('>I', len(content)) + name + content
            + struct.pack('>I', zlib.crc32(name + content)))


def png(width, height, *chunks, content=b'\0'):
    """Return a PNG file of RGB that claims a size."""
    return b''.join([
        b'\x89PNG\r\n\x1a\n',
        png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0,
                                       0)), *chunks,
        png_chunk(b'IDAT', zlib.compress(content)), png_chunk(b'IEND', b'')
    ])


def tiff(**tags):
    """Return a TIFF file of 8x8 RGB with some tags changed."""
    values = {
        'ImageWidth': 8, 'ImageLength': 8, 'BitsPerSample': 8,
        'Compression': 1, 'PhotometricInterpretation': 1, 'StripOffsets': 8,
        'SamplesPerPixel': 1, 'RowsPerStrip': 8, 'StripByteCounts': 64, **tags
    }
    codes = dict(
        ImageWidth=256, ImageLength=257, BitsPerSample=258, Compression=259,
        PhotometricInterpretation=262, StripOffsets=273, SamplesPerPixel=277,
        RowsPerStrip=278, StripByteCounts=279, TileWidth=322, TileLength=323,
        TileOffsets=324, TileByteCounts=325, SampleFormat=339)
    entries = sorted((codes[k], v) for k, v in values.items()
                     if v is not None)
    ifd = struct.pack('<H', len(entries)) + b''.join(
        struct.pack('<HHII', code, 4, 1, v) for code, v in entries)
    return struct.pack('<2sHI', b'II', 42, 72) + bytes(64) + ifd + bytes(4)


def with_jpeg_size(content, width, height):
    """Return a JPEG file that claims another size."""
    at = max(content.find(b'\xff\xc0'), content.find(b'\xff\xc2'))
    return content[:at + 5] + struct.pack('>HH', height, width) + \
        content[at + 9:]


def bombs():
    """Return small files that claim to be huge, by their names."""
    image = noise()
    jpeg, avif = encode(image, 'JPEG'), encode(image, 'AVIF')
    side = avif.find(b'ispe') + 8
    vp8x = struct.pack('<4sIBBHHBHB', b'VP8X', 10, 2, 0, 0, 0xffff, 0,
                       0xffff, 0)
    anim = struct.pack('<4sIIH', b'ANIM', 6, 0, 0)
    riff = b'WEBP' + vp8x + anim + encode(image, 'WEBP')[12:]
    vp8l = bytearray(encode(image, 'WEBP', lossless=True))
    vp8l[21:25] = struct.pack('<I', 0x3fff | 0x3fff << 14)
    gif = bytearray(encode(image, 'GIF'))
    gif[6:10] = struct.pack('<HH', 0xffff, 0xffff)
    bmp = bytearray(encode(image, 'BMP'))
    bmp[18:26] = struct.pack('<ii', 30000, -30000)
    return {
        'sof.jpg': with_jpeg_size(jpeg, 65500, 65500),
        'filled.jpg': jpeg[:2] + b'\xff\xff\xff' + with_jpeg_size(
            jpeg, 40000, 40000)[3:],
        'ihdr.png': png(30000, 30000),
        'zeros.png': png(20000, 20000, content=bytes(20000 * 3 + 1) * 200),
        'canvas.webp': b'RIFF' + struct.pack('<I', len(riff)) + riff,
        'lossless.webp': bytes(vp8l),
        'screen.gif': bytes(gif),
        'up.bmp': bytes(bmp),
        'ispe.avif': avif[:side] + struct.pack('>II', 30000, 30000)
        + avif[side + 8:],
        'sides.tif': tiff(ImageWidth=100_000, ImageLength=100_000),
        'tile.tif': tiff(
            TileWidth=30_000, TileLength=30_000, TileOffsets=8,
            TileByteCounts=64, StripOffsets=None, RowsPerStrip=None,
            StripByteCounts=None),
        'plain.ppm': b'P6 60000 60000 255\n' + bytes(100),
        'bits.pgm': b'P4\n# \xff\n60000 60000\n' + bytes(100),
    }


PALETTE = noise().quantize(8)
# files that hold a picture, by their names
UNUSUAL = {
    'palette.png': encode(PALETTE, 'PNG'),
    'palette_alpha.png': encode(PALETTE, 'PNG', transparency=0),
    'bits.png': encode(noise().convert('1'), 'PNG'),
    'alpha.png': encode(noise().convert('RGBA'), 'PNG'),
    'grey_alpha.png': encode(noise().convert('LA'), 'PNG'),
    'grey.jpg': encode(noise().convert('L'), 'JPEG'),
    'animated.png': encode(noise(), 'PNG', save_all=True,
                           append_images=[noise(seed=1)]),
    'animated.webp': encode(noise(), 'WEBP', lossless=True, save_all=True,
                            append_images=[noise(seed=1)]),
    'animated.gif': encode(noise(), 'GIF', save_all=True,
                           append_images=[noise(seed=1)]),
    'see_through.gif': encode(PALETTE, 'GIF', transparency=0),
    'picture.avif': encode(noise(), 'AVIF'),
    'pages.tif': encode(noise(), 'TIFF', save_all=True,
                        append_images=[noise(seed=1)]),
    'cmyk.jpg': encode(noise().convert('CMYK'), 'JPEG', quality=95),
    'cmyk.tif': encode(noise().convert('CMYK'), 'TIFF'),
    'palette.tif': encode(PALETTE, 'TIFF'),
    'fax.tif': encode(noise().convert('1'), 'TIFF', compression='group4'),
    'big.tif': encode(noise(), 'TIFF', big_tiff=True),
    'grey.bmp': encode(noise().convert('L'), 'BMP'),
    'palette.bmp': encode(PALETTE, 'BMP'),
    'bits.bmp': encode(noise().convert('1'), 'BMP'),
    'text.ppm': b'P3\n# made by hand\n2 1\n255\n1 2 3 4 5 6\n',
    'bits.pbm': encode(noise().convert('1'), 'PPM'),
    'webp_named.jpg': encode(noise(), 'WEBP', lossless=True),
    'jpeg_named.webp': encode(noise(), 'JPEG'),
    'jpeg_named.png': encode(noise(), 'JPEG'),
    **{f'{w}x{h}.{form.lower()}': encode(noise(h, w), form)
       for w, h in ((1, 1), (1, 5000), (5000, 1))
       for form in ('JPEG', 'PNG', 'BMP', 'TIFF', 'PPM', 'WEBP')},
}
