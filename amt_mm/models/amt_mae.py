"""MAE that takes its masks, and its savings, from a plan made in the data.

Shape letters: B batch, L tokens, V visible, M masked, D width,
C channels, p patch size, (h, w) token grid.
"""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any

import torch
from mmpretrain.models.necks import MAEPretrainDecoder
from mmpretrain.models.selfsup import MAEViT
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from amt_mm.arguments import (
    POSITIVE,
    Check,
    check_all,
    check_int,
    check_multiple,
    check_number,
    check_sides,
    optional,
)
from amt_mm.masking.plan import MaskPlan, gather_rows
from amt_mm.registry import MODELS

from .base_amt import Sizes
from .pixel_head import AMTMAEPretrainHead
from .pixel_supervisor import PixelSupervisor
from .position_embedding import NUM_WAVES, sincos_position_embedding
from .query_only_layer import QueryOnlyLayer
from .visible_patch_vit import VisiblePatchViT
from .vit_arguments import MAX_DEPTH, check_init, check_norm, loads_weights

DECODER_CHECKS: dict[str, Check] = dict(
    patch_size=POSITIVE,
    in_chans=POSITIVE,
    embed_dim=POSITIVE,
    decoder_embed_dim=POSITIVE,
    decoder_depth=partial(check_int, low=0, high=MAX_DEPTH),
    decoder_num_heads=POSITIVE,
    mlp_ratio=partial(check_number, bounds='[1, 100]'),
    norm_cfg=check_norm,
    predict_feature_dim=optional(POSITIVE),
    init_cfg=check_init)


@MODELS.register_module()
class AMTMAEViT(VisiblePatchViT, MAEViT):
    """MAE's encoder, which embeds and sees the visible patches only.

    Without a plan it is mmpretrain's ``VisionTransformer``, and its state dict
    is that of one. Any grid is allowed, square or not.

    Args:
        **kwargs: Those of :class:`mmpretrain.models.MAEViT`; its
            ``mask_ratio`` has no effect, as the plan decides.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_multiple('arch.embed_dims', self.embed_dims, NUM_WAVES,
                       'what its positions are made of')

    def init_weights(self) -> None:
        """Initialise as MAE does, for grids that are not square too."""
        super(MAEViT, self).init_weights()
        if loads_weights(self.init_cfg):
            return
        pos_embed = sincos_position_embedding(self.patch_resolution,
                                              self.embed_dims)
        self.pos_embed.data.copy_(pos_embed)
        torch.nn.init.xavier_uniform_(
            self.patch_embed.projection.weight.data.flatten(1))
        torch.nn.init.normal_(self.cls_token, std=.02)

    def forward(self, x: Tensor, plan: MaskPlan | None = None) -> Tensor:
        """Encode images (B, C, H, W).

        Returns:
            Tensor | tuple[Tensor]: With a plan, the latent (B, 1 + V, D),
            class token first; else the outputs of ``VisionTransformer``.
        """
        if plan is None:
            return super(MAEViT, self).forward(x)
        x = self.embed_visible(x, plan)
        pos_embed = self.positions(plan)
        x = x + gather_rows(pos_embed[:, 1:], plan.ids_visible)
        cls_token = self.cls_token + pos_embed[:, :1]
        x = torch.cat([cls_token.expand(len(x), -1, -1), x], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.norm1(x)


@MODELS.register_module()
class AMTMAEPretrainDecoder(MAEPretrainDecoder):
    """MAE's decoder over the kept tokens; it predicts the masked ones only.

    Attention does not mind the order of the tokens once their positions are
    added, so mask tokens are appended and nothing is shuffled back.

    Args:
        num_patches (int | tuple[int]): Tokens of an image; (h, w) where the
            grid is not square. Defaults to 196.
        **kwargs: Those of :class:`mmpretrain.models.MAEPretrainDecoder`.
    """

    def __init__(self,
                 num_patches: int | tuple[int, int] = 196,
                 **kwargs: Any) -> None:
        check_all(DECODER_CHECKS, kwargs)
        h, w = _decoder_grid(num_patches)
        super().__init__(num_patches=h * w, **kwargs)
        self.grid = h, w
        width = self.mask_token.shape[-1]
        check_multiple('decoder_embed_dim', width, NUM_WAVES,
                       'what its positions are made of')
        for block in self.decoder_blocks[:1]:
            check_multiple('decoder_embed_dim', width, block.attn.num_heads,
                           'decoder_num_heads')
        for block in self.decoder_blocks[-1:]:
            block.__class__ = QueryOnlyLayer  # of the same parameters

    def init_weights(self) -> None:
        """Initialise as MAE does, for grids that are not square too."""
        super(MAEPretrainDecoder, self).init_weights()
        if loads_weights(self.init_cfg):
            return
        pos_embed = sincos_position_embedding(self.grid,
                                              self.mask_token.shape[-1])
        self.decoder_pos_embed.data.copy_(pos_embed)
        torch.nn.init.normal_(self.mask_token, std=.02)

    def forward(self, latent: Tensor, plan: MaskPlan) -> Tensor:
        """Predict the masked patches from the latent (B, 1 + V, D).

        Returns:
            Tensor: (B, M, p * p * C), in the order of ``plan.ids_masked``.
        """
        pos_embed = resize_pos_embed(self.decoder_pos_embed, self.grid,
                                     plan.grid)
        x = self.decoder_embed(latent)
        cls_token = x[:, :1] + pos_embed[:, :1]
        visible = x[:, 1:] + gather_rows(pos_embed[:, 1:], plan.ids_visible)
        masked = self.mask_token + gather_rows(pos_embed[:, 1:],
                                               plan.ids_masked)
        x = torch.cat([cls_token, visible, masked], dim=1)
        for block in self.decoder_blocks[:-1]:
            x = block(x)
        for block in self.decoder_blocks[-1:]:  # none of depth 0
            x = block(x, masked.shape[1])
        x = x[:, -masked.shape[1]:]
        return self.decoder_pred(self.decoder_norm(x))


def _decoder_grid(num_patches: Any) -> tuple[int, int]:
    """Return the grid (h, w) of a number of patches, square if one number."""
    if isinstance(num_patches, int):
        side = isqrt(check_int('num_patches', num_patches, 1))
        if side * side != num_patches:
            raise ValueError('num_patches must be (h, w) where it is not a '
                             f'square number, got {num_patches}.')
        num_patches = side, side
    return check_sides('num_patches', num_patches)


@MODELS.register_module()
class AMTMAE(PixelSupervisor):
    """MAE with attention-driven masking and throwing.

    Source: Good helper is around you: Attention-driven Masked Image Modeling
    (AAAI 2023), on top of `MAE <https://arxiv.org/abs/2111.06377>`_.

    Args:
        **kwargs: Those of :class:`PixelSupervisor`.
    """

    parts = dict(
        backbone=AMTMAEViT,
        neck=AMTMAEPretrainDecoder,
        head=AMTMAEPretrainHead)
    of_backbone = dict(
        neck=dict(embed_dim='embed_dims', num_patches='patch_resolution',
                  patch_size='patch_size',
                  in_chans='patch_embed.projection.in_channels'),
        head=dict(patch_size='patch_size',
                  in_channels='patch_embed.projection.in_channels'))

    def sizes(self) -> Sizes:
        """Return the sizes that must fit, by name."""
        vit, neck, head = self.backbone, self.neck, self.head
        return {
            'neck.embed_dim': (neck.decoder_embed.in_features, vit.embed_dims,
                               'embed_dims of backbone.arch'),
            'neck.num_patches': (neck.grid, tuple(vit.patch_resolution),
                                 'backbone.img_size / backbone.patch_size'),
            'head.patch_size': (head.patch_size, vit.patch_size,
                                'backbone.patch_size'),
            'neck.predict_feature_dim or neck.patch_size ** 2 * neck.in_chans':
            (neck.decoder_pred.out_features,
             head.patch_size**2 * head.in_channels,
             'head.patch_size ** 2 * head.in_channels'),
        }
