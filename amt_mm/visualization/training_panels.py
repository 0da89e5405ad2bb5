"""Panels of training samples: what the model is given and what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch import Tensor

from amt_mm.masking.plan import MaskPlan
from amt_mm.saliency.pixels import min_max

from .panels import Panel


@torch.no_grad()
def training_panels(model: Any, dataset: BaseDataset,
                    indices: Sequence[int]) -> list[Panel]:
    """Draw samples through the train pipeline and reconstruct them.

    Args:
        model (nn.Module): A model with ``saliency`` and, if it predicts
            pixels, ``reconstruct``.
        dataset (BaseDataset): The training set, its pipeline connected to a
            saliency store.
        indices (Sequence[int]): Which samples.

    Returns:
        list[Panel]: One a sample: the crop, P_A over it (the saliency of the
        crop itself before the first update), the plan, the reconstruction
        where the model makes one.
    """
    samples = [dataset[i] for i in indices]
    data = model.data_preprocessor(
        dict(
            inputs=torch.stack([s['inputs'] for s in samples]),
            data_samples=[s['data_samples'] for s in samples]))
    inputs, data_samples = data['inputs'], data['data_samples']
    was_training = model.training
    model.eval()
    plan = MaskPlan.from_data_samples(data_samples, inputs.device)
    pictures: Sequence[np.ndarray | None] = [None] * len(inputs)
    if hasattr(model, 'reconstruct'):
        pictures = to_pixels(model, model.reconstruct(inputs, plan))
    fallback = model.saliency(inputs).float().cpu().numpy()
    model.train(was_training)
    return [
        Panel(image, min_max(sample.get('saliency', own), 1e-12),
              sample.mask_plan, picture)
        for image, sample, own, picture in zip(
            to_pixels(model, inputs), data_samples, fallback, pictures,
            strict=True)
    ]


def to_pixels(model: Any, inputs: Tensor) -> list[np.ndarray]:
    """Undo the normalisation: (B, C, H, W) -> B times (H, W, 3) uint8 RGB."""
    preprocessor = model.data_preprocessor
    pixels = inputs.float() * preprocessor.std + preprocessor.mean
    if hasattr(preprocessor, 'bands'):
        pixels = pixels[:, preprocessor.bands] * (255 / preprocessor.white)
    elif not preprocessor._channel_conversion:  # then the inputs are BGR still
        pixels = pixels.flip(1)
    pixels = pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return list(pixels.cpu().numpy())
