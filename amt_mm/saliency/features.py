"""The saliency of an image from the tokens of a ViT, border against inside.

Shape letters: B batch, (h, w) token grid, L = h * w, N on the border, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import enter_blocks
from .pixels import NEIGHBOURS, shortest_ways

NUM_NEAREST = 5


def vit_tokens(vit: Any, images: Tensor, block: int = -1) -> Tensor:
    """Return the patch tokens (B, h, w, D) that leave a block of a ViT.

    Args:
        vit (nn.Module): See :func:`vit_attention`.
        images (Tensor): (B, C, H, W), normalised.
        block (int): Index of the block, from the end if negative.
            Defaults to -1.
    """
    x, grid, shared = enter_blocks(vit, images)
    for layer in vit.layers[:block % len(vit.layers) + 1]:
        x = layer(x, *shared)
    return x[:, 1:].unflatten(1, grid)


def border_contrast(tokens: Tensor) -> np.ndarray:
    """Return how unlike the border each token is, (B, h, w).

    One minus the mean cosine to the ``NUM_NEAREST`` tokens of the border that
    are most like it.
    """
    tokens = F.normalize(tokens, dim=-1)
    on_border = torch.ones(tokens.shape[1:3], dtype=torch.bool)
    on_border[1:-1, 1:-1] = False
    border_BND = tokens[:, on_border.to(tokens.device)]
    cosines_BLN = tokens.flatten(1, 2) @ border_BND.mT
    nearest = cosines_BLN.topk(min(NUM_NEAREST, border_BND.shape[1])).values
    return (1 - nearest.mean(-1)).unflatten(1, tokens.shape[1:3]).cpu().numpy()


def token_distance(tokens: Tensor) -> np.ndarray:
    """Return the geodesic distance (B, h, w) of each token to the border.

    A step to one of 8 neighbours is as long as two tokens differ in
    direction; the one from the border outwards is free.
    """
    h, w = tokens.shape[1:3]
    tokens = F.normalize(tokens, dim=-1)
    padded = F.pad(tokens.permute(0, 3, 1, 2), (1, 1, 1, 1), 'replicate')
    padded = padded.permute(0, 2, 3, 1)
    steps = torch.stack([
        (padded[:, y:y + h, x:x + w] - tokens).norm(dim=-1)
        for y, x in NEIGHBOURS])
    return shortest_ways(steps.cpu().numpy())


FEATURE_METHODS: dict[str, Callable[[Tensor], np.ndarray]] = dict(
    geodesic=token_distance, contrast=border_contrast)
