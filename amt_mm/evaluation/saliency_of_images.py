"""Where a pre-trained model looks in images outside of its training set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Resize
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain.datasets.transforms import PackInputs

from amt_mm.datasets.image_folder import EXTENSIONS
from amt_mm.datasets.transforms import LoadImage
from amt_mm.progress import progress

from .localization import Localization, box_mask, measure_localization


@torch.no_grad()
def saliency_of_images(model: Any,
                       paths: Sequence[str | Path],
                       input_size: tuple[int, int],
                       batch_size: int = 64) -> Iterator[np.ndarray]:
    """Yield the saliency map (h, w) of each image file, shown whole.

    Args:
        model (nn.Module): A model with ``saliency`` and a data preprocessor.
        paths (Sequence[str | Path]): Image files.
        input_size (tuple[int]): (height, width) the images are resized to.
        batch_size (int): Images per forward pass. Defaults to 64.
    """
    load = Compose([
        LoadImage(),
        Resize(input_size[::-1], backend='pillow', interpolation='bicubic')
    ])
    model.eval()
    for start in progress(range(0, len(paths), batch_size), 'saliency'):
        images = [
            load(dict(img_path=str(path)))['img']
            for path in paths[start:start + batch_size]
        ]
        inputs = torch.stack([PackInputs.format_input(i) for i in images])
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=None))
        yield from model.saliency(data['inputs']).float().cpu().numpy()


def localize(model: Any, truths: Mapping[Path, np.ndarray],
             input_size: tuple[int, int]) -> Localization:
    """Compare saliency with object masks (H, W) of image files."""
    kept = {path: mask for path, mask in truths.items() if mask.any()}
    maps = saliency_of_images(model, list(kept), input_size)
    return measure_localization(zip(maps, kept.values(), strict=True))


def masks_from_folder(images: Path, masks: Path) -> dict[Path, np.ndarray]:
    """Pair the images below a folder with the masks of the same names.

    Args:
        images (Path): Folder of images, searched recursively.
        masks (Path): The same tree of ``.png`` files; object pixels are > 0.

    Raises:
        FileNotFoundError: If an image has no mask, or there is no image.
    """
    truths = {}
    load = LoadImage(color_type='unchanged')
    for path in sorted(images.rglob('*')):
        if path.suffix.lower() not in EXTENSIONS:
            continue
        mask = masks / path.relative_to(images).with_suffix('.png')
        if not mask.is_file():
            raise FileNotFoundError(f'{path} has no mask: expected {mask}.')
        truths[path] = load(dict(img_path=str(mask)))['img'] > 0
    if not truths:
        raise FileNotFoundError(f'no image below {images}.')
    return truths


def masks_from_boxes(images: Path, boxes: Path) -> dict[Path, np.ndarray]:
    """Read lines of ``PATH XMIN YMIN XMAX YMAX``, in pixels of the image.

    Boxes without area, which real annotations hold, are left out and counted
    in the log.
    """
    truths: dict[Path, np.ndarray] = {}
    num_empty, load = 0, LoadImage()
    lines = boxes.read_text().splitlines()
    for number, line in enumerate(progress(lines, 'boxes'), 1):
        name, *corners = line.rsplit(maxsplit=4)
        if len(corners) != 4:
            raise ValueError(f'{boxes}, line {number}: expected PATH XMIN '
                             f'YMIN XMAX YMAX, got {line!r}.')
        where = f'{boxes}, line {number}'
        box = _read_box(corners, where)
        if (box[2:] <= box[:2]).any():
            num_empty += 1
            continue
        path = images / name
        if not Path(os.path.abspath(path)).is_relative_to(
                os.path.abspath(images)):
            raise ValueError(f'{where}: the image must be below {images}, got '
                             f'{name!r}.')
        height, width = load(dict(img_path=str(path)))['img_shape']
        mask = box_mask(box, height, width)
        truths[path] = truths.get(path, False) | mask
    if num_empty:
        print_log(f'left out {num_empty} boxes without area of {boxes}')
    return truths


def _read_box(corners: Sequence[str], where: str) -> np.ndarray:
    try:
        box = np.array(corners, float)
    except ValueError:
        box = np.array(np.nan)
    if not np.isfinite(box).all():
        raise ValueError(f'{where}: a box must be four finite numbers, got '
                         f'{" ".join(corners)!r}.')
    return box
