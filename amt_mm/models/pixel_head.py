"""The loss on the pixels of masked patches, and its way back to a picture.

Shape letters: B batch, M masked, C channels, p patch size.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmpretrain.models.heads import MAEPretrainHead
from torch import Tensor

from amt_mm.arguments import (
    POSITIVE,
    Check,
    check_all,
    check_bool,
    check_number,
)
from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import MODELS

# of what in the loss follows the saliency
check_share = partial(check_number, bounds='[0, 1]')
CHECKS: dict[str, Check] = dict(
    norm_pix=check_bool, patch_size=POSITIVE, in_channels=POSITIVE)


@MODELS.register_module()
class AMTMAEPretrainHead(MAEPretrainHead):
    """MAE's loss on the masked patches, whose targets alone are built.

    Args:
        saliency_weight (float): The share, in [0, 1], of a masked patch's
            weight in the loss that follows its saliency; the weights of an
            image have the mean 1. Above 0 it needs
            ``AMTMaskGenerator(with_saliency=True)``. The idea is that of
            `AttG-MAE <https://arxiv.org/abs/2402.15172>`_. Defaults to 0.
        **kwargs: Those of :class:`mmpretrain.models.MAEPretrainHead`.
    """

    def __init__(self, saliency_weight: float = 0., **kwargs: Any) -> None:
        check_all(CHECKS, kwargs)
        super().__init__(**kwargs)
        self.saliency_weight = check_share('saliency_weight', saliency_weight)

    def loss(self, pred: Tensor, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Compare predictions (B, M, p * p * C) with the images' patches."""
        target = self.construct_target(self.masked_pixels(inputs, plan))
        # counted in the target's precision: a sum of ones overflows in half
        mask = torch.ones_like(target[:, :, 0])
        if self.saliency_weight:
            mask = mask * plan.loss_weights(self.saliency_weight)
        return self.loss_module(pred, target, mask)

    def construct_target(self, target: Tensor) -> Tensor:
        """Normalise pixels (B, M, p * p * C) where ``norm_pix`` says so."""
        if not self.norm_pix:
            return target
        mean, std = pixel_statistics(target)
        return (target - mean) / std

    def masked_pixels(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Cut out the masked patches (B, M, p * p * C), channels last."""
        patches = plan.patches(inputs, plan.ids_masked)
        return patches.permute(0, 1, 3, 4, 2).flatten(2)

    def reconstruct(self, pred: Tensor, inputs: Tensor,
                    plan: MaskPlan) -> Tensor:
        """Put predictions into the images (B, C, H, W) at the masked patches.

        Pixel normalisation is undone with the true statistics of each patch.
        """
        if self.norm_pix:
            mean, std = pixel_statistics(self.masked_pixels(inputs, plan))
            pred = pred * std + mean
        p = self.patch_size
        patches = pred.unflatten(-1, (p, p, -1)).permute(0, 1, 4, 2, 3)
        return plan.paste(inputs, plan.ids_masked, patches)


def pixel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each patch, as MAE has them."""
    var, mean = torch.var_mean(pixels, dim=-1, keepdim=True)
    return mean, (var + 1.e-6)**.5
