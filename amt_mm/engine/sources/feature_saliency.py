"""Saliency from the tokens of the model in training.

Shape letters: B batch, (h, w) token grid, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch import Tensor

from amt_mm.arguments import check_choice, check_int, check_number
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.attention import FEATURE_METHODS, vit_tokens
from amt_mm.saliency.pixels import weigh_centre

from .model_saliency import ModelSaliency

# enough images for the mean token of each position
NUM_IMAGES = 256


@SALIENCY_SOURCES.register_module()
class FeatureSaliency(ModelSaliency):
    """How unlike the border of the image the tokens of the model are.

    The mean token of each position, over the first ``NUM_IMAGES`` images of
    each process, is subtracted first: it depends on the position alone.

    Args:
        block (int): The block whose tokens are compared, from the end if
            negative. Defaults to -1.
        method (str): ``'geodesic'``, the distance to the border from token to
            token; or ``'contrast'``, one minus the cosine to the border's
            nearest tokens. Defaults to ``'geodesic'``.
        centre_weight (float): Exponent of a weak centre prior; 0 leaves it
            out. Defaults to 1.
    """

    def __init__(self,
                 block: int = -1,
                 method: str = 'geodesic',
                 centre_weight: float = 1.) -> None:
        self.block = check_int('block', block, -10**3, 10**3)
        self.method = check_choice('method', method, FEATURE_METHODS)
        self.centre_weight = check_number('centre_weight', centre_weight,
                                          '[0, inf)')

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Get the model of the run, and check the block."""
        super().setup(runner, dataset, grid)
        depth = len(self.model.backbone.layers)
        check_int('block of FeatureSaliency', self.block, -depth, depth - 1)

    def saliency_of(self, model: Any, images: Tensor) -> Tensor:
        """Return the tokens (B, h, w, D) of images (B, C, H, W)."""
        return vit_tokens(model.backbone, images, self.block)

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield how unlike the border the tokens are, with present weights."""
        batches = super().maps(loader)
        first: list[tuple[Tensor, Tensor]] = []
        while sum(len(index) for index, _ in first) < NUM_IMAGES:
            batch = next(batches, None)
            if batch is None:
                break
            first.append(batch)
        if not first:
            return
        mean = torch.cat([tokens.float() for _, tokens in first]).mean(0)
        for index, tokens in chain(first, batches):
            found = FEATURE_METHODS[self.method](tokens.float() - mean)
            saliency = weigh_centre(found, self.centre_weight)
            yield index, torch.from_numpy(saliency).to(tokens.device)
