"""How near reconstructions come to the masked patches.

Shape letters: B batch, M masked patches, p patch size, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dataset import BaseDataset
from torch import Tensor

from amt_mm.masking.plan import MaskPlan

BATCH_SIZE = 64


class Reconstruction(NamedTuple):
    """How reconstructions compare with the mean colour of each patch.

    Attributes:
        median_ratio (float): The squared error over that of painting the
            patch in its true mean colour, the median over the masked patches.
        share_better (float): In which share of them it is below 1.
    """

    median_ratio: float
    share_better: float

    def __str__(self) -> str:
        return (f'{self.share_better:.0%} of the masked patches are '
                'reconstructed better than by their own mean colour; squared '
                f'error over that of the mean colour: median '
                f'{self.median_ratio:.2f}')


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
    return Reconstruction(
        float(ratios.median()), float((ratios < 1).float().mean()))


def error_ratios(model: Any, samples: list[dict]) -> Tensor:
    """Return the error of each masked patch over its variance, (B * M,)."""
    data = model.data_preprocessor(dict(
        inputs=torch.stack([s['inputs'] for s in samples]),
        data_samples=[s['data_samples'] for s in samples]))
    images = data['inputs']
    plan = MaskPlan.from_data_samples(data['data_samples'], images.device)
    truth, found = (
        plan.patches(x, plan.ids_masked).flatten(3)  # (B, M, C, p * p)
        for x in (images, model.reconstruct(images, plan)))
    error = (found - truth).square().mean((2, 3))
    variance = truth.var(3, correction=0).mean(2)
    return (error / variance.clamp_min(1e-8)).flatten()
