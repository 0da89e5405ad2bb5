"""What every encoder that reads a plan has in common.

Shape letters: B batch, L tokens, V visible, D width, C channels.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from amt_mm.arguments import check_all
from amt_mm.masking.plan import MaskPlan

from .vit_arguments import VIT_CHECKS


class VisiblePatchViT(BaseBackbone):
    """The part of a ViT that embeds the visible patches of a plan only.

    To be named before one of mmpretrain's vision transformers among the bases
    of a class. Any grid is allowed, square or not.

    Args:
        **kwargs: Those of the vision transformer.
    """

    def __init__(self, **kwargs: Any) -> None:
        check_all(VIT_CHECKS, kwargs)
        super().__init__(**kwargs)
        if not self.final_norm:
            raise ValueError('final_norm must be True, got False: the decoder '
                             'reads the normalised latent.')
        for module in self.modules():
            if isinstance(module, DropPath):
                # a numpy number would break a compiled graph
                module.drop_prob = float(module.drop_prob)
        proj = self.patch_embed.projection
        if proj.kernel_size != proj.stride or len({*proj.stride}) > 1:
            raise ValueError(
                'patch_cfg must keep the patches square and side by side, got '
                f'kernel_size {proj.kernel_size} and stride {proj.stride}; '
                'both are patch_size unless set.')
        if any(proj.padding) or {*proj.dilation} != {1}:
            raise ValueError('patch_cfg must have padding 0 and dilation 1, '
                             f'got {proj.padding} and {proj.dilation}.')

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.patch_embed.projection.stride[0]

    def embed_visible(self, images: Tensor, plan: MaskPlan) -> Tensor:
        """Embed the visible patches alone (B, V, D).

        Raises:
            ValueError: If the plan is not one of these images' patches.
        """
        size = tuple(n * self.patch_size for n in plan.grid)
        if images.shape[2:] != size:
            raise ValueError(
                f'inputs of patch_size {self.patch_size} must fit the plan '
                f'{plan.grid}, got shape {tuple(images.shape)}: check the '
                'scale of the crop, and input_size and patch_size of '
                'AMTMaskGenerator.')
        proj = self.patch_embed.projection
        if images.shape[1] != proj.in_channels:
            raise ValueError(f'in_channels must be {images.shape[1]} to fit '
                             f'the images, got {proj.in_channels}.')
        pixels = plan.patches(images, plan.ids_visible).flatten(2)
        x = F.linear(pixels, proj.weight.flatten(1), proj.bias)
        return self.patch_embed.norm(x) if self.patch_embed.norm else x

    def positions(self, plan: MaskPlan) -> Tensor:
        """Return the position embedding (1, 1 + L, D) on the plan's grid."""
        return resize_pos_embed(self.pos_embed, self.patch_resolution,
                                plan.grid, self.interpolate_mode)
