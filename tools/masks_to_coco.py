"""Write COCO annotations of photographs whose objects are masks in files.

    python tools/masks_to_coco.py IMAGES MASKS OUT --class-name pedestrian

For each image of the folder ``IMAGES`` there is one picture in ``MASKS`` of
the same size, whose name is that of the image, with or without a suffix such
as ``_mask``. In it 0 is background, and every other value is one object (a
picture with one other value holds one object). Writes
``OUT/instances_train.json`` and, of every fifth image by name,
``OUT/instances_val.json``; file names are relative to ``IMAGES``. An image
without objects stays, as one without annotations.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as mask_utils

ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', type=Path)
    parser.add_argument('masks', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--class-name', required=True)
    parser.add_argument(
        '--val-every', type=int, default=5,
        help='every how many images one is for validation; default 5')
    return parser.parse_args()


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder, by name."""
    if not folder.is_dir():
        raise SystemExit(f'error: there is no folder {folder}.')
    found = sorted(path for path in folder.iterdir()
                   if path.suffix.lower() in ENDINGS)
    if not found:
        raise SystemExit(f'error: {folder} holds no pictures, which end in '
                         f'{", ".join(sorted(ENDINGS))}.')
    return found


def pair(images: list[Path], masks: list[Path]) -> dict[Path, Path]:
    """Find the mask of each image by its name.

    The same name comes first; else the one mask that begins with it and goes
    on with no letter or digit, so that ``a1_mask`` is of ``a1``, and
    ``a10_mask`` is not.
    """
    pairs = {}
    for image in images:
        stem = image.stem
        found = [m for m in masks if m.stem == stem] or [
            m for m in masks if m.stem.startswith(stem)
            and not m.stem[len(stem)].isalnum()
        ]
        if len(found) != 1:
            raise SystemExit(
                f'error: {image} must have one mask, {stem}.* or '
                f'{stem}_*.*, got {[m.name for m in found]}.')
        pairs[image] = found[0]
    return pairs


def size_of(image: Path) -> tuple[int, int]:
    """Return width and height as detectors read them, turned upright."""
    return ImageOps.exif_transpose(Image.open(image)).size


def objects_in(image: Path, mask: Path, width: int, height: int
               ) -> Iterator[dict[str, Any]]:
    """Yield the annotation of each object, without its ids."""
    values = np.asarray(Image.open(mask))
    if values.shape != (height, width):
        raise SystemExit(
            f'error: {mask} must have one value for each pixel of {image}, '
            f'{width} x {height}, got shape {values.shape}.')
    for value in np.unique(values[values > 0]):
        code = mask_utils.encode(np.asfortranarray(values == value, np.uint8))
        yield dict(
            category_id=1,
            bbox=mask_utils.toBbox(code).tolist(),
            area=int(mask_utils.area(code)),
            iscrowd=0,
            segmentation=dict(code, counts=code['counts'].decode()))


def annotate(pairs: dict[Path, Path], class_name: str) -> dict[str, Any]:
    """Return the images and their objects as COCO has them."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (image, mask) in enumerate(pairs.items(), 1):
        width, height = size_of(image)
        images.append(
            dict(id=image_id, file_name=image.name, width=width,
                 height=height))
        for found in objects_in(image, mask, width, height):
            annotations.append(
                dict(found, id=len(annotations) + 1, image_id=image_id))
    if not annotations:
        raise SystemExit(f'error: no mask of these {len(images)} images has '
                         'a value other than 0.')
    return dict(images=images, annotations=annotations,
                categories=[dict(id=1, name=class_name)])


def main() -> None:
    """Pair, split, and write both files."""
    args = parse_args()
    pairs = pair(pictures_in(args.images), pictures_in(args.masks))
    if not 2 <= args.val_every <= len(pairs):
        raise SystemExit('error: --val-every must be from 2 to the number of '
                         f'images, {len(pairs)}, got {args.val_every}.')
    args.out.mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val'):
        part = {
            image: mask
            for i, (image, mask) in enumerate(pairs.items())
            if (i % args.val_every == args.val_every - 1) == (split == 'val')
        }
        content = annotate(part, args.class_name)
        path = args.out / f'instances_{split}.json'
        path.write_text(json.dumps(content))
        sys.stdout.write(f'{path}: {len(part)} images, '
                         f'{len(content["annotations"])} objects\n')


if __name__ == '__main__':
    main()
