"""Look at the images of a folder, and print the lines of a config for them.

    python tools/dataset_stats.py DIR
    python tools/dataset_stats.py DIR --num-images 5000
    python tools/dataset_stats.py DIR --nodata -9999

Prints how many images there are and how many can be read, their sizes,
channels, types of number and levels, and mean and standard deviation of each
channel: of photographs as ``LoadImage`` gives them, in levels of 0 to 255,
else as ``LoadArray`` gives them. At most ``--num-images`` are read, evenly
spread.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.logging import print_log

from amt_mm.datasets.image_folder import EXTENSIONS, walk_files
from amt_mm.datasets.transforms import LoadImage, UnreadableImageError
from amt_mm.datasets.transforms.load_array import read_array

ARRAYS = '.npy', '.tif', '.tiff'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument(
        '--num-images', type=int, default=1000,
        help='how many to read (default: %(default)s)')
    parser.add_argument(
        '--nodata', type=float,
        help='the level of pixels without data, which do not count; those '
        'that are not finite never do')
    return parser.parse_args()


def main() -> None:
    """Read, count, print."""
    args = parse_args()
    if not args.folder.is_dir():
        raise SystemExit(f'{args.folder} is no folder.')
    names = sorted(name for name in walk_files(str(args.folder))
                   if name.lower().endswith((*EXTENSIONS, '.npy')))
    if not names:
        raise SystemExit(f'{args.folder} holds no image: no file below it ends'
                         f' in {[*EXTENSIONS, ".npy"]}.')
    chosen = [args.folder / names[i] for i in np.unique(np.linspace(
        0, len(names) - 1, args.num_images).astype(int))]
    images = [Look(image.shape, image.dtype, sample(image))
              for image in read(chosen)]
    print_log(f'{len(names):,} images, {len(chosen):,} looked at, '
              f'{len(images):,} of them can be read')
    if images:
        print_log(summary(images, args.nodata))


class Look(NamedTuple):
    """What is kept of an image: (H, W, C), its numbers, some pixels."""

    shape: tuple[int, ...]
    dtype: np.dtype
    pixels: np.ndarray


def sample(image: np.ndarray) -> np.ndarray:
    """Return 4,096 to 8,191 pixels (N, C) of an image, or all."""
    pixels = image.reshape(-1, image.shape[2])
    return pixels[::max(1, len(pixels) // 4096)].copy()


def read(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield the images (H, W, C) that can be read, colours as RGB."""
    load = LoadImage()
    for path in paths:
        if path.suffix.lower() in ARRAYS:
            try:
                image = read_array(path.read_bytes())
            except Exception:  # each decoder has errors of its own
                continue
            if image.dtype == np.uint8 and image.shape[2] == 4:
                image = image[:, :, :3]  # alpha
            yield image
            continue
        try:
            yield load(dict(img_path=str(path)))['img'][:, :, ::-1]
        except UnreadableImageError:
            continue


def summary(images: Sequence[Look], nodata: float | None = None) -> str:
    """Say what the images are, and how a config names it."""
    lines = []
    for axis, name in enumerate(('height', 'width')):
        low, middle, high = np.quantile(
            [image.shape[axis] for image in images], [0, .5, 1])
        lines.append(f'{name} {low:.0f} to {high:.0f}, median {middle:.0f}')
    kinds = Counter(f'{image.shape[2]} channels of {image.dtype}'
                    for image in images)
    lines.append(', '.join(f'{n:,} of {kind}' for kind, n in
                           kinds.most_common()))
    if len({image.shape[2] for image in images}) > 1:
        return '\n'.join([*lines, 'A model takes images of one number of '
                          'channels: put the others elsewhere.'])
    is_photo = all(image.dtype == np.uint8 and image.shape[2] in (1, 3)
                   for image in images)
    values = np.concatenate([
        image.pixels for image in images]).astype(np.float64)
    values = values[np.isfinite(values).all(1)]
    if nodata is not None:
        values = values[(values != nodata).any(1)]
    if not len(values):
        return '\n'.join([*lines, 'No pixel of them holds data.'])
    low, high = values.min(), values.max()
    lines.append(f'levels {low:g} to {high:g}')
    options = []
    if not is_photo:
        if low >= 0 and all(i.dtype.kind == 'u' for i in images):
            low, high = 0., 2.**np.ceil(np.log2(high + 1)) - 1
        values = (values - low) / (high - low)
        options = [
            f'model.backbone.patch_cfg.in_channels={values.shape[1]}',
            f'train_dataloader.dataset.pipeline.1.value_range={low:g},{high:g}'
        ]
    if values.shape[1] == 1 and is_photo:
        values = values.repeat(3, 1)  # as LoadImage gives them
    for name, numbers in (('mean', values.mean(0)), ('std', values.std(0))):
        options.append(f'data_preprocessor.{name}='
                       + ','.join(f'{n:.4g}' for n in numbers))
    config = 'mae_amt_vit-s_custom' if is_photo else 'mae_amt_vit-s_bands'
    return '\n'.join([
        *lines, f'for configs/{config}.py:', *options])


if __name__ == '__main__':
    main()
