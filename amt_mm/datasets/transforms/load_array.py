"""Load an image of any number of channels, in any type of number."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from amt_mm.arguments import check_choice, check_number
from amt_mm.datasets.nodata import Loaded, fill_missing
from amt_mm.registry import TRANSFORMS

from .load_image import MAX_PIXELS, LoadImage

MARKS = 'alpha', 'nan'
NUMPY, TIFF = b'\x93NUMPY', (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


@TRANSFORMS.register_module()
class LoadArray(LoadImage):
    """Load TIFF files and NumPy arrays as they are, scaled to [0, 1].

    Of 8, 16 or 32 bits, signed, unsigned or float. A TIFF file may have its
    channels in samples or in pages. An array, and a TIFF file that does not
    name its axes, is (H, W, C) or, where its first axis is shorter than its
    last, (C, H, W).

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img (np.ndarray): (H, W, C) float32.
    - img_shape, ori_shape
    - data_mask (np.ndarray): See :class:`LoadImage`.

    Args:
        value_range (Sequence[float]): The levels that become 0 and 1, such as
            (0, 4095) of 12 bits; what is beyond is not clipped.
        num_channels (int, optional): How many channels each image must have.
            Defaults to None, any.
        nodata (float | str, optional): What marks a pixel without data: a
            level of the file that all its channels have, or one of them if it
            is outside of ``value_range``; ``'nan'``, in any channel; or
            ``'alpha'``, a last channel that is 0 there, and is dropped. See
            :class:`LoadImage`. Defaults to None.
        **kwargs: ``max_pixels``, ``keep_all`` and those of
            :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        UnreadableImageError: If the file is neither, or holds a number that
            is not finite where data is, or no data.
    """

    def __init__(self,
                 value_range: Sequence[float],
                 num_channels: int | None = None,
                 **kwargs: Any) -> None:
        super().__init__(color_type='unchanged', imdecode_backend='tifffile',
                         **kwargs)
        if self.keep_last:
            raise ValueError('LoadArray has keep_all, and no keep_last.')
        low, high = (check_number('value_range', n, '(-inf, inf)')
                     for n in value_range)
        if not low < high:
            raise ValueError('value_range must be (low, high) with low < '
                             f'high, got {value_range}.')
        self.value_range = low, high
        self.num_channels = num_channels

    def _check_nodata(self, nodata: Any) -> float | str | None:
        """Return what marks pixels without data, or raise an error."""
        if isinstance(nodata, str):
            return check_choice('nodata, if no number,', nodata, MARKS)
        return super()._check_nodata(nodata)

    def _load(self, path: str, results: dict) -> Loaded:
        """Read and decode a file, fill what is missing, and scale it."""
        image = read_array(self.read(path)[0], self.max_pixels)
        image, data_mask = self._find_data(image)
        if self.num_channels not in (None, image.shape[2]):
            raise ValueError(f'num_channels must be {image.shape[2]}, as the '
                             f'image has, got {self.num_channels}')
        values = image if data_mask is None else image[data_mask]
        if not np.isfinite(values).all():
            raise ValueError(f'{np.sum(~np.isfinite(values)):,} of '
                             f'{values.size:,} values are not finite')
        image, data_mask = fill_missing(image, data_mask)
        low, high = self.value_range
        image = (image.astype(np.float32) - low) / np.float32(high - low)
        return image, data_mask

    def _find_data(self, image: np.ndarray) -> Loaded:
        """Return the channels (H, W, C), and which pixels hold data."""
        if self.nodata is None:
            return image, None
        if self.nodata == 'alpha':
            if image.shape[2] < 2:
                raise ValueError("nodata 'alpha' needs 2 or more channels, "
                                 f'got {image.shape[2]}')
            return image[:, :, :-1], image[:, :, -1] > 0
        if self.nodata == 'nan':
            return image, ~np.isnan(image).any(2)
        is_mark = image == self.nodata
        low, high = self.value_range
        # within the range, a single channel may have the level by chance
        is_level = low <= float(self.nodata) <= high
        return image, ~(is_mark.all(2) if is_level else is_mark.any(2))

    def _header(self, content: bytes) -> None:
        """Raise ValueError if a file is no array."""
        _check_start(content)


def read_array(content: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a TIFF file or a NumPy array to (H, W, C)."""
    _check_start(content)
    if content.startswith(NUMPY):
        image = _channels_last(np.lib.format.read_array(
            io.BytesIO(content), allow_pickle=False))
    else:
        image = _read_tiff(content, max_pixels)
    if image.ndim != 3 or image.dtype.kind not in 'uif':
        raise ValueError('an image must be (H, W) or (H, W, C) of real '
                         f'numbers, got {image.shape} of {image.dtype}')
    _check_size(image.shape[:2], max_pixels)
    return image


def _check_start(content: bytes) -> None:
    if not content.startswith((NUMPY, *TIFF)):
        raise ValueError('it is not a TIFF file or NumPy array: it begins '
                         f'with {content[:8]!r}')


def _channels_last(image: np.ndarray) -> np.ndarray:
    """Return (H, W), (H, W, C) or (C, H, W), C < W, as (H, W, C)."""
    if image.ndim == 2:
        return image[:, :, None]
    if image.ndim == 3 and image.shape[0] < image.shape[2]:
        return np.moveaxis(image, 0, 2)
    return image


def _read_tiff(content: bytes, max_pixels: int) -> np.ndarray:
    """Decode the first series of a TIFF file to (H, W, C)."""
    from tifffile import TiffFile
    with TiffFile(io.BytesIO(content)) as file:
        series = file.series[0]
        axes, shape = series.axes, series.shape
        _check_size(sorted(shape)[-2:], max_pixels)
        image = series.asarray()
    others = [i for i, axis in enumerate(axes) if axis not in 'YX']
    if len(others) > 1:
        raise ValueError('its axes must be Y, X and one of channels, got '
                         f'{axes} {shape}')
    if not others or axes[others[0]] == 'Q':  # written without names
        return _channels_last(image)
    return np.moveaxis(image, others[0], 2)


def _check_size(size: Sequence[int], max_pixels: int) -> None:
    if not 0 < prod(size) <= max_pixels:
        raise ValueError(f'the image must have 1 to max_pixels {max_pixels:,} '
                         f'pixels, got {" x ".join(map(str, size))}')
