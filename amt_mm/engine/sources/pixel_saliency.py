"""Saliency from pixels alone.

Shape letters: B batch, (h, w) token grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amt_mm.arguments import check_choice, check_number
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.pixels import PIXEL_METHODS, pixel_saliency

from .saliency_source import WorkerSaliency


@SALIENCY_SOURCES.register_module()
class PixelSaliency(WorkerSaliency):
    """Maps from the pixels of each image, without a model, made once.

    The loader's workers make them, in about a millisecond an image. Three
    channels are compared as Lab colours, any other number as they are.

    Args:
        method (str): ``'rbd'``, robust background detection (Zhu et al.,
            CVPR 2014): contrast to what is connected to the border;
            ``'geodesic'``, the geodesic distance to the border (Wei et al.,
            ECCV 2012); or ``'detail'``, the spread of the pixels of a patch.
            Defaults to ``'rbd'``.
        centre_weight (float): Exponent of a weak centre prior, a Gaussian of
            half the side; 0 leaves it out. Defaults to 1.
    """

    def __init__(self, method: str = 'rbd', centre_weight: float = 1.) -> None:
        self.method = check_choice('method', method, PIXEL_METHODS)
        self.centre_weight = check_number('centre_weight', centre_weight,
                                          '[0, inf)')

    def prepare(self, results: dict) -> Tensor:  # type: ignore[override]
        """Make the map of a sample, in a worker, as (h, w) in [0, 1]."""
        return torch.from_numpy(pixel_saliency(
            results['img'], self.grid, self.method, self.centre_weight))
