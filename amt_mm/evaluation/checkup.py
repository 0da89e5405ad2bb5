"""What a model makes of images without labels: features, and a loss.

Shape letters: N images, D width, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from amt_mm.masking.plan import MaskPlan
from amt_mm.progress import progress

from .features import gather_in_order, mean_of_patches


@dataclass(frozen=True)
class Checkup:
    """What a look at the same images found in an epoch.

    Attributes:
        epoch (int): How many were trained; 0 is what the run started from.
        loss (float): Of trained images, under plans as training makes them.
        rank_me (float): :func:`rank_me` of their features.
        spread (float): :func:`feature_spread` of their features.
        heldout_loss (float, optional): The loss of images not trained on.
        entropy (float, optional): Of the saliency in use, see
            :func:`amt_mm.saliency.mean_entropy`.
        scale (float, optional): The standard deviation of the values of an
            image as the model gets them, the mean over the images; near 1 if
            they are normalised by their own statistics.
        gain (float): By how much ``loss`` fell since the checkup before, or
            since the maps changed after it: under equal plans alone do losses
            compare.
        heldout_gain (float): The same of ``heldout_loss``, if there is one.
    """

    epoch: int
    loss: float
    rank_me: float
    spread: float
    heldout_loss: float | None = None
    entropy: float | None = None
    scale: float | None = None
    gain: float = 0.
    heldout_gain: float = 0.

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> Checkup:
        """Return that of a log or a checkpoint, which may hold more or less.

        What an older version left out has its default.
        """
        names = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in numbers.items() if k in names})

    def compare(self, start: Checkup) -> str:
        """Return the numbers for a log, each with that of the start."""
        parts = [f'loss {self.loss:.4f} (at first {start.loss:.4f})']
        if self.heldout_loss is not None and start.heldout_loss is not None:
            parts.append(f'held out {self.heldout_loss:.4f} '
                         f'({start.heldout_loss:.4f})')
        return ', '.join([
            *parts, f'RankMe {self.rank_me:.2f} ({start.rank_me:.2f})',
            f'spread {self.spread:.3f} ({start.spread:.3f})'])


class PlannedImages(Dataset):
    """Some images of a data set, each with a plan.

    Args:
        images (Dataset): Gives dicts with ``inputs`` (C, H, W).
        indices (Sequence[int]): Which of them.
        flags (np.ndarray): Their plans (N, h, w) int8.
    """

    def __init__(self, images: Any, indices: Sequence[int],
                 flags: np.ndarray) -> None:
        self.images, self.indices, self.flags = images, indices, flags

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return dict(inputs=self.images[self.indices[position]]['inputs'],
                    flags=self.flags[position])


@torch.no_grad()
def examine(model: Any, loader: DataLoader) -> tuple[Tensor, Tensor, Tensor]:
    """Encode images whole, and predict them under their plans, in one pass.

    In a distributed run each process does its share, and all get all; see
    :func:`extract_features` for the loader, whose data set is of
    :class:`PlannedImages`, and the model, which has a ``loss_given_plan`` too.

    Returns:
        tuple: Features (N, D), the mean of the patch tokens; losses (N,), each
        the mean of its batch; and standard deviations (N,) of the normalised
        values of each image; float32 on the CPU.
    """
    was_training = model.training
    model.eval()
    features, losses, scales = [], [], []
    for batch in progress(loader, 'checkup'):
        data = dict(inputs=batch['inputs'], data_samples=None)
        images = model.data_preprocessor(data)['inputs']
        tokens = model.extract_feat(images)[-1]
        features.append(mean_of_patches(tokens).float().cpu())
        plan = MaskPlan.from_flags(batch['flags'].numpy(), images.device)
        loss = model.loss_given_plan(images, plan)
        losses.append(loss.float().cpu().expand(len(images)))
        scales.append(images.float().flatten(1).std(1).cpu())
    model.train(was_training)
    number = len(loader.dataset)  # type: ignore[arg-type]
    return (gather_in_order(torch.cat(features), number),
            gather_in_order(torch.cat(losses), number),
            gather_in_order(torch.cat(scales), number))
