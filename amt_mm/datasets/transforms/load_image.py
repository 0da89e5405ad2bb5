"""Load an image, or raise an error that names the file."""

from __future__ import annotations

import io
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image

from amt_mm.arguments import check_bool, check_int, check_number
from amt_mm.datasets.encoded_image import (
    MAX_PIXELS,
    Header,
    check_file,
    check_image,
    check_pixels,
    printable,
)
from amt_mm.datasets.nodata import Loaded, fill_missing, opaque_pixels
from amt_mm.registry import TRANSFORMS

WHITE = 65535


class UnreadableImageError(ValueError):
    """An image file is missing, damaged or no image; the message names it."""


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` with errors for files that are damaged.

    JPEG (also CMYK), PNG (also palette, alpha, 16 bit), WebP, BMP, PNM and
    TIFF become 3-channel uint8, turned by their EXIF orientation; so do GIF
    and AVIF, where the data set takes them. Alpha is dropped, 16 bits
    are divided by 256, and of several pictures in a file the first is taken.
    Pixels without data, which ``nodata`` names, get the mean colour of the
    others before anything is resized; ``AMTMaskGenerator`` then masks no patch
    of theirs.
    The format follows from the first bytes, not from the name. A file of other
    channels is an error, unless ``color_type='unchanged'`` asks for all.

    A file that is cut off, or larger than ``max_pixels``, is an error before
    it is decoded; a PNG file also where its checksums differ. The pixels of
    other formats have no checksum: damage amidst them shows only if it breaks
    the decoding.

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
        UnreadableImageError: If the file cannot be opened or decoded, or holds
            no data.
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
        self.all_channels = self.color_type == 'unchanged'
        self.scaled_levels = white_level < WHITE
        self._check_backend()
        self.nodata = self._check_nodata(nodata)
        self._all: dict[str, Loaded] = {}
        self._last: tuple[tuple, np.ndarray] | None = None

    def _check_backend(self) -> None:
        """Raise ValueError if the backend cannot, else prepare the levels."""
        backend, color_type = self.imdecode_backend, self.color_type
        if backend == 'tifffile' and not self.all_channels:
            raise ValueError(
                "imdecode_backend 'tifffile' converts nothing: color_type "
                f"must be 'unchanged', got {color_type!r}.")
        if not self.scaled_levels:
            return
        if self.all_channels or backend != 'cv2':
            raise ValueError(
                "white_level needs imdecode_backend 'cv2' and a color_type "
                f"other than 'unchanged', got {backend!r} and {color_type!r}.")
        levels = np.arange(WHITE + 1) * 256 // (self.white_level + 1)
        self._to_8_bits = levels.clip(max=255).astype(np.uint8)

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
        """Return the least and the greatest level of an image of 16 bits.

        None if it has 8, or cannot be read.
        """
        try:
            content, header = self.read(path)
            check_pixels(header, self.all_channels, self.scaled_levels)
        except Exception:  # transform raises it
            return None
        if header.by_pillow or header.kind == 'JPEG':
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
        if self.nodata == 'alpha':
            return fill_missing(image, opaque_pixels(content))
        return fill_missing(
            image, (np.atleast_3d(image) != self.nodata).any(2))

    def read(self, path: str) -> tuple[bytes, Any]:
        """Return a file and its header, or raise OSError or ValueError."""
        content = self._read(path)
        return content, check_image(content, self.max_pixels)

    def _read(self, path: str) -> bytes:
        """Read a file, but none that never ends."""
        check_file(path, self.max_pixels)
        if self.file_client_args is not None:
            client = fileio.FileClient.infer_client(
                self.file_client_args, path)
            return client.get(path)
        return fileio.get(path, backend_args=self.backend_args)

    def _decode(self, content: bytes, header: Header,
                results: dict) -> np.ndarray:
        """Decode an image whose header was checked."""
        check_pixels(header, self.all_channels, self.scaled_levels)
        flag, backend = self.color_type, self.imdecode_backend
        if header.by_pillow:
            backend = 'pillow'
        elif backend == 'pillow':
            _check_mode(content)
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


def _check_mode(content: bytes) -> None:
    """Raise ValueError if Pillow would clip levels in place of scaling."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode[0] in 'IF':
            raise ValueError(
                'images of more than 8 bits need imdecode_backend '
                f"'cv2', got 'pillow' and mode {image.mode}")
