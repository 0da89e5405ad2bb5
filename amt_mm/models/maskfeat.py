"""MaskFeat, with masks and savings from a plan made in the data.

Shape letters: B batch, V visible, M masked, L tokens, D width, C channels,
p patch size, (h, w) token grid, F features: nbins * C * (p / pool)**2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import MIMHead
from mmpretrain.models.necks import LinearNeck
from mmpretrain.models.selfsup import HOGGenerator, MaskFeatViT
from torch import Tensor

from amt_mm.arguments import check_int, check_multiple
from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import MODELS

from .base import BaseAMT, Sizes
from .vit import KeptTokensViT


@MODELS.register_module()
class AMTMaskFeatViT(KeptTokensViT, MaskFeatViT):
    """MaskFeat's encoder over the kept tokens.

    Without a plan it is mmpretrain's ``VisionTransformer``, and its state dict
    is that of one plus ``mask_token``. Any grid is allowed, square or not.

    Args:
        **kwargs: Those of :class:`mmpretrain.models.selfsup.MaskFeatViT`.
    """


@MODELS.register_module()
class AMTHOGGenerator(HOGGenerator):
    """MaskFeat's target, for any size of image and of patch.

    mmpretrain's own assumes a square image of 14 x 14 patches, for which this
    gives the same.

    Args:
        patch_size (int): Side p of a patch, in pixels, a multiple of
            ``pool``. Defaults to 16.
        **kwargs: Those of :class:`mmpretrain.models.selfsup.HOGGenerator`.
    """

    def __init__(self, patch_size: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_multiple('patch_size', check_int('patch_size', patch_size, 1),
                       self.pool, 'pool')
        self.patch_size = patch_size

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Describe every patch (B, L, F) of images (B, C, H, W)."""
        height, width = x.shape[-2:]
        # small gradients would drown in half precision; meta has no autocast
        device = 'cpu' if x.is_meta else x.device.type
        with torch.autocast(device, enabled=False):
            cells = super().forward(self._square(x.float()))
        cells = cells[..., :height // self.pool, :width // self.pool]
        side = self.patch_size // self.pool
        cells = cells.flatten(1, 2).unfold(2, side, side).unfold(3, side, side)
        return cells.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)

    def _square(self, x: Tensor) -> Tensor:
        """Pad images to squares of whole Gaussian windows."""
        height, width = x.shape[-2:]
        side = max(height, width)
        if self.gaussian_window:
            side += -side % self.gaussian_window
        right, below = side - width, side - height
        # one mirrored pixel is all that the gradient at an edge looks at
        x = F.pad(x, (0, min(right, 1), 0, min(below, 1)), mode='reflect')
        return F.pad(x, (0, max(right - 1, 0), 0, max(below - 1, 0)))

    def _reshape(self, hog_feat: Tensor) -> Tensor:
        """Leave the cells (B, C, nbins, H / pool, W / pool) as they are."""
        return hog_feat


@MODELS.register_module()
class AMTMaskFeat(BaseAMT):
    """MaskFeat with attention-driven masking and throwing.

    Source: Good helper is around you: Attention-driven Masked Image Modeling
    (AAAI 2023), on top of `MaskFeat <https://arxiv.org/abs/2112.09133>`_. Neck
    and head are mmpretrain's and see the masked tokens only. A gradient looks
    one pixel beyond its patch, so the target of a masked patch does too, even
    if the next is thrown. It predicts no pixels, so there is no
    ``reconstruct``.

    Args:
        **kwargs: Those of :class:`BaseAMT`.
    """

    parts = dict(
        backbone=KeptTokensViT,
        neck=LinearNeck,
        head=MIMHead,
        target_generator=AMTHOGGenerator)
    of_backbone = dict(
        neck=dict(in_channels='embed_dims'),
        target_generator=dict(patch_size='patch_size'))

    def loss_given_plan(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return the loss of images (B, C, H, W), a number."""
        pred = self.predict(inputs, plan)
        target = self.target(inputs, plan)
        return self.head.loss(pred, target, plan.loss_weights())

    def predict(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Predict the features of the masked patches (B, M, F)."""
        latent = self.backbone(inputs, plan)
        masked = latent[:, -plan.ids_masked.shape[1]:]
        # the neck takes rows, without a batch
        pred, = self.neck(masked.flatten(0, 1))
        return pred.unflatten(0, masked.shape[:2])

    def target(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return the true features of the masked patches (B, M, F)."""
        hog = self.target_generator(inputs)
        rows = torch.arange(len(hog), device=hog.device)[:, None]
        return hog[rows, plan.ids_masked]

    def sizes(self) -> Sizes:
        """Return the sizes that must fit, by name."""
        vit, neck, hog = self.backbone, self.neck, self.target_generator
        num_cells = (vit.patch_size // hog.pool)**2
        return {
            'backbone.in_channels': (
                vit.patch_embed.projection.in_channels, 3, 'the HOG'),
            'neck.in_channels': (neck.in_channels, vit.embed_dims,
                                 'embed_dims of backbone.arch'),
            'target_generator.patch_size': (hog.patch_size, vit.patch_size,
                                            'backbone.patch_size'),
            'neck.out_channels': (
                neck.out_channels, hog.nbins * 3 * num_cells,
                'nbins * 3 * (patch_size / pool) ** 2 of target_generator'),
        }
