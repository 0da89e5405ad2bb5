"""How much of their space features fill, without labels.

Shape letters: N images, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-7  # of RankMe


@torch.no_grad()
def rank_me(features: Tensor) -> float:
    """Return RankMe of features (N, D), from 1 to the smaller of N and D.

    It is the exponential of the entropy of the singular values, which are not
    centred: 1 if all features are multiples of one vector. Source: `RankMe
    <https://arxiv.org/abs/2210.02885>`_, equation 1.
    """
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp_min(EPS) + EPS
    return float((-shares * shares.log()).sum().exp())


@torch.no_grad()
def feature_spread(features: Tensor) -> float:
    """Return the spread of the directions of features (N, D), in [0, 1].

    The root mean square distance of the normalised features to their mean: 0
    if all point the same way, near 1 if they point in all.
    """
    directions = F.normalize(features.double())
    return float((1 - directions.mean(0).square().sum()).clamp_min(0).sqrt())
