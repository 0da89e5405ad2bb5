"""Normalise images of any number of channels.

Shape letters: B batch, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models import SelfSupDataPreprocessor

from amt_mm.registry import MODELS


@MODELS.register_module()
class AMTDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor, which takes 1 or 3 channels, for any number.

    Args:
        mean (Sequence[float]): Of each channel, or one of all.
        std (Sequence[float]): Likewise.
        bands (Sequence[int]): The channels that pictures show as red, green
            and blue. Defaults to (0, 0, 0), the first in grey.
        white (float): The level that pictures show as white. Defaults to 1.
        **kwargs: Those of :class:`mmpretrain.models.SelfSupDataPreprocessor`.
    """

    def __init__(self,
                 mean: Sequence[float],
                 std: Sequence[float],
                 bands: Sequence[int] = (0, 0, 0),
                 white: float = 1.,
                 **kwargs: Any) -> None:
        super().__init__(mean=[0.], std=[1.], **kwargs)
        self.mean, self.std = (torch.tensor(values).float().view(-1, 1, 1)
                               for values in (mean, std))
        self.bands, self.white = tuple(bands), white
