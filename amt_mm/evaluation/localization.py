"""How well saliency maps, and the plans drawn from them, find the objects.

A map is (h, w), one value a cell; a mask is (H, W) bool on the same image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Resize
from mmengine.dataset import BaseDataset, Compose
from mmengine.logging import print_log
from mmpretrain.datasets.transforms import PackInputs

from amt_mm.datasets.image_folder import EXTENSIONS
from amt_mm.datasets.transforms import LoadImage
from amt_mm.masking.plan import MASKED, ROLES
from amt_mm.progress import progress
from amt_mm.saliency.geometry import crop_map
from amt_mm.saliency.pixels import centre_prior


def pointing_accuracy(saliency_map: np.ndarray, mask: np.ndarray) -> float:
    """Return 1 if the map's maximum lies on the mask, else 0.

    The pointing game of Zhang et al., "Top-down Neural Attention by Excitation
    Backprop", ECCV 2016. The point is the centre of the largest cell. Where
    several cells tie, the result is the share of them that hit.
    """
    rows, columns = np.nonzero(saliency_map == saliency_map.max())
    scale_y, scale_x = np.divide(mask.shape, saliency_map.shape)
    ys = ((rows + 0.5) * scale_y).astype(int)
    xs = ((columns + 0.5) * scale_x).astype(int)
    return float(mask[ys, xs].mean())


def average_precision(saliency_map: np.ndarray, mask: np.ndarray) -> float:
    """Return the average precision of the map as a score of every pixel.

    The map is resized to the mask bilinearly. AP = sum_n (R_n - R_{n-1}) P_n
    over the distinct scores, in descending order, as scikit-learn has it.
    """
    resized = cv2.resize(saliency_map.astype(np.float64), mask.shape[::-1],
                         interpolation=cv2.INTER_LINEAR)
    # a constant area comes back with the last bits off: ties must survive
    peak = np.abs(saliency_map).max() or 1
    scores = np.round(resized / peak, 9).ravel()
    order = np.argsort(-scores)
    # the last pixel of every run of equal scores
    ends = np.append(np.flatnonzero(np.diff(scores[order])), mask.size - 1)
    hits = np.cumsum(mask.ravel()[order])[ends]
    precision = hits / (ends + 1)
    return float(np.diff(hits, prepend=0) @ precision / hits[-1])


def box_mask(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the (height, width) mask of the pixels that a box touches."""
    left, top = np.maximum(box[:2], 0).astype(int)
    right, bottom = np.ceil(np.maximum(box[2:], 0)).astype(int)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """Estimate a mean; one value alone has no error."""
        num = len(values)
        error = values.std(ddof=1) / np.sqrt(num) if num > 1 else np.nan
        return cls(float(values.mean()), float(error))

    def __str__(self) -> str:
        return f'{self.mean:.3f} +- {self.standard_error:.3f}'


@dataclass(frozen=True)
class Localization:
    """How saliency maps and the centre prior find the objects.

    ``*_gain`` is the paired difference to the prior on the same images.
    """

    num_images: int
    pointing: Estimate
    average_precision: Estimate
    centre_pointing: Estimate
    centre_average_precision: Estimate
    pointing_gain: Estimate
    average_precision_gain: Estimate

    def as_dict(self) -> dict[str, float]:
        """Return the means and, as ``*_se``, the standard errors."""
        scalars: dict[str, float] = {}
        for name, value in vars(self).items():
            if isinstance(value, Estimate):
                scalars[name] = value.mean
                scalars[f'{name}_se'] = value.standard_error
        return scalars

    def __str__(self) -> str:
        return (f'pointing {self.pointing} (centre prior '
                f'{self.centre_pointing}), average precision '
                f'{self.average_precision} (centre prior '
                f'{self.centre_average_precision}), {self.num_images} images')


def measure_localization(
        pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Localization:
    """Score pairs of map and mask beside a centre prior of the same grid."""
    rows = []
    for saliency_map, mask in pairs:
        if not np.isfinite(saliency_map).all():
            num = int((~np.isfinite(saliency_map)).sum())
            raise ValueError('saliency_map must be finite, got '
                             f'{num} of {saliency_map.size} values that are '
                             'not.')
        prior = centre_prior(*saliency_map.shape)
        rows.append([measure(own, mask) for own in (saliency_map, prior)
                     for measure in (pointing_accuracy, average_precision)])
    if not rows:
        raise ValueError('pairs must hold at least one map and mask, got 0.')
    scores = np.array(rows)
    scores = np.hstack([scores, scores[:, :2] - scores[:, 2:]])
    return Localization(len(rows), *map(Estimate.of, scores.T))


@torch.no_grad()
def saliency_of_images(model: Any,
                       paths: Sequence[str | Path],
                       input_size: tuple[int, int],
                       batch_size: int = 64) -> Iterator[np.ndarray]:
    """Yield the saliency map (h, w) of each image file, shown whole."""
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
    """Pair all images below a folder with the masks of the same names.

    They are ``.png`` files; object pixels are > 0. Raises FileNotFoundError if
    an image has no mask, or there is no image.
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
    """Read lines of ``PATH XMIN YMIN XMAX YMAX``, in pixels."""
    truths: dict[Path, np.ndarray] = {}
    num_empty, load = 0, LoadImage()
    lines = boxes.read_text().splitlines()
    for number, line in enumerate(progress(lines, 'boxes'), 1):
        name, *corners = line.rsplit(maxsplit=4)
        where = f'{boxes}, line {number}'
        try:
            box = np.array(corners, float)
        except ValueError:
            box = np.array(np.nan)
        if box.shape != (4, ) or not np.isfinite(box).all():
            raise ValueError(f'{where}: expected PATH XMIN YMIN XMAX YMAX, '
                             f'four finite numbers, got {line!r}.')
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


def object_roles(dataset: BaseDataset,
                 truths: Mapping[Path, np.ndarray]) -> dict[str, float]:
    """Return P(masked|object), P(thrown|object) and P(visible|object).

    Each image goes once through the train pipeline, its object mask (H, W) is
    cropped and flipped with it, and a token counts by its share of the object.
    ValueError is raised if no image has a mask.
    """
    masks = {path.resolve(): mask for path, mask in truths.items()}
    totals = dict.fromkeys(ROLES, 0.)
    steps = [
        step for step in dataset.pipeline.transforms
        if not isinstance(step, PackInputs)
    ]
    for index in progress(range(len(dataset)), 'plans of objects'):
        results = dataset.get_data_info(index)
        mask = masks.get(Path(results['img_path']).resolve())
        if mask is None:
            continue
        for step in steps:
            results = step(results)
        # masked, predicted or not
        plan = np.minimum(results['mask_plan'], MASKED)
        weights = crop_map(
            mask.astype(float), results['crop_box'],
            results.get('flip_direction'), plan.shape)
        weights /= mask.size  # every image counts by the share it shows
        for role, flag in ROLES.items():
            totals[role] += weights[plan == flag].sum()
    whole = sum(totals.values())
    if not whole:
        raise ValueError(
            f'truths must hold the masks of some of the {len(dataset)} images '
            f'of the data set, got {len(masks)} masks of others.')
    return {role: total / whole for role, total in totals.items()}
