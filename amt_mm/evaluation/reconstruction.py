"""How near reconstructions come to the masked patches.

Shape letters: B batch, M masked patches, p patch size, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dataset import BaseDataset, default_collate
from torch import Tensor

from amt_mm.masking.plan import MaskPlan

BATCH_SIZE = 64


class Reconstruction(NamedTuple):
    """The squared error of masked patches, the median of its ratios.

    Attributes:
        over_mean (float): Over that of painting a patch in its true mean, one
            number for all channels: the loss of MAE on normalised pixels,
            where 1 is the mean.
        over_colour (float): Over that of painting it in its true mean colour,
            one number for each channel.
    """

    over_mean: float
    over_colour: float


@torch.no_grad()
def measure_reconstruction(model: Any, dataset: BaseDataset,
                           indices: Sequence[int]) -> Reconstruction:
    """Reconstruct samples of a data set, with the crops and plans it makes.

    Args:
        model (nn.Module): A model with ``reconstruct``.
        dataset (BaseDataset): Images with a train pipeline.
        indices (Sequence[int]): Which samples.
    """
    was_training = model.training
    model.eval()
    ratios = torch.cat([
        error_ratios(model, [dataset[int(i)] for i in block])
        for block in torch.tensor(indices).split(BATCH_SIZE)
    ])
    model.train(was_training)
    return Reconstruction(*ratios.median(0).values.tolist())


def error_ratios(model: Any, samples: list[dict]) -> Tensor:
    """Return both ratios of each masked patch, (B * M, 2)."""
    data = model.data_preprocessor(default_collate(samples))
    images = data['inputs']
    plan = MaskPlan.from_data_samples(data['data_samples'], images.device)
    truth, found = (
        plan.patches(x, plan.ids_masked).flatten(0, 1)  # (B * M, C, p, p)
        for x in (images, model.reconstruct(images, plan)))
    error = (found - truth).square().mean((1, 2, 3))
    variances = torch.stack([
        truth.var((1, 2, 3), correction=0),
        truth.var((2, 3), correction=0).mean(1),
    ], 1)
    return error[:, None] / variances.clamp_min(1e-8)
