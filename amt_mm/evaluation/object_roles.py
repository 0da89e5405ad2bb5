"""What the plans do to the objects of the training images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.datasets.transforms import PackInputs

from amt_mm.masking.plan import MASKED, ROLES
from amt_mm.progress import progress
from amt_mm.saliency.geometry import crop_map


def object_roles(dataset: BaseDataset,
                 truths: Mapping[Path, np.ndarray]) -> dict[str, float]:
    """Return P(masked|object), P(thrown|object) and P(visible|object).

    Each image goes once through the train pipeline; its object mask is cropped
    and flipped with it, and a token counts by its share of object pixels.

    Args:
        dataset (BaseDataset): The training set, its pipeline connected to a
            saliency store.
        truths (Mapping[Path, np.ndarray]): Object masks (H, W) by image path;
            images without one are passed over.

    Raises:
        ValueError: If no image of the data set has a mask.
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
