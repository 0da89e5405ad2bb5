"""MAE with masks, and savings, from a plan made in the data pipeline.

Shape letters: B batch, L tokens, V visible, M masked, D width,
C channels, p patch size, (h, w) token grid.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from mmpretrain.models.heads import MAEPretrainHead
from mmpretrain.models.necks import MAEPretrainDecoder
from mmpretrain.models.selfsup import MAEViT
from mmpretrain.models.utils import (
    build_2d_sincos_position_embedding,
    resize_pos_embed,
)
from torch import Tensor

from amt_mm.arguments import check_bool, check_int, check_number, check_sides
from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import MODELS

from .attention import attend_by_heads
from .base import PixelAMT, Sizes
from .vit import VisiblePatchViT, check_init_cfg, loads_weights


@MODELS.register_module()
class AMTMAEViT(VisiblePatchViT, MAEViT):
    """MAE's encoder, which embeds the visible patches only.

    Without a plan it is mmpretrain's ``VisionTransformer``, and its state dict
    is that of one. Any grid is allowed, square or not.

    Args:
        **kwargs: Those of :class:`mmpretrain.models.MAEViT`; its
            ``mask_ratio`` has no effect, as the plan decides.
    """

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

    def forward(self,
                x: Tensor,
                plan: MaskPlan | None = None,
                all_blocks: bool = False) -> Tensor:
        """Encode images (B, C, H, W).

        Returns:
            Tensor | tuple[Tensor]: With a plan, the latent (B, 1 + V, D),
            class token first, or with ``all_blocks`` what goes into the first
            of N blocks and comes out of each (1 + N, B, 1 + V, D), the last
            normalised; else the outputs of ``VisionTransformer``.
        """
        if plan is None:
            return super(MAEViT, self).forward(x)
        x = self.embed_visible(x, plan)
        pos_embed = self.positions(plan)
        x = x + pos_embed[0, 1:][plan.ids_visible]
        cls_token = self.cls_token + pos_embed[:, :1]
        x = torch.cat([cls_token.expand(len(x), -1, -1), x], dim=1)
        found = []
        for layer in self.layers:
            if all_blocks:
                found.append(x)
            x = layer(x)
        x = self.norm1(x)
        return torch.stack([*found, x]) if all_blocks else x


class QueryOnlyLayer(TransformerEncoderLayer):
    """A last layer that computes its last tokens alone, which attend to all.

    Parameters and results are those of the whole layer.
    """

    def forward(self, x: Tensor, number: int) -> Tensor:
        """Turn tokens (B, L, D) into the last ones (B, M, D), M = number."""
        attn, width = self.attn, self.embed_dims
        weight, bias = attn.qkv.weight, attn.qkv.bias
        normed = self.ln1(x)
        query = F.linear(normed[:, -number:], weight[:width],
                         bias if bias is None else bias[:width])
        key_value = F.linear(normed, weight[width:],
                             bias if bias is None else bias[width:])
        return attend(self, x[:, -number:], query, key_value)


def attend(layer: TransformerEncoderLayer, x: Tensor, query: Tensor,
           key_value: Tensor) -> Tensor:
    """Do what a layer does to x (B, M, D), given keys, values (B, L, 2 D)."""
    x = x + attend_by_heads(layer.attn, query, *key_value.chunk(2, -1))
    return layer.ffn(layer.ln2(x), identity=x)


@MODELS.register_module()
class AMTMAEPretrainDecoder(MAEPretrainDecoder):
    """MAE's decoder over the kept tokens; it predicts the masked ones only.

    Those that are masked but not predicted (``predict_ratio`` of
    ``AMTMaskGenerator``) do not enter it, as if they were thrown. Attention is
    equivariant to the order of the tokens once their positions are added, so
    mask tokens are appended and nothing is shuffled back.

    Args:
        num_patches (int | tuple[int]): Tokens of an image; (h, w) where the
            grid is not square. Defaults to 196.
        **kwargs: Those of :class:`mmpretrain.models.MAEPretrainDecoder`.
    """

    # whether it reads what comes out of every block of the encoder
    inter_block = False

    def __init__(self,
                 num_patches: int | tuple[int, int] = 196,
                 **kwargs: Any) -> None:
        check_init_cfg(kwargs.get('init_cfg'))
        h, w = _decoder_grid(num_patches)
        super().__init__(num_patches=h * w, **kwargs)
        self.grid = h, w
        self.embed_dim = self.decoder_embed.in_features
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
        """Predict (B, M, p * p * C) from the latent (B, 1 + V, D)."""
        pos_embed = resize_pos_embed(self.decoder_pos_embed, self.grid,
                                     plan.grid)
        x = self.decoder_embed(latent)
        cls_token = x[:, :1] + pos_embed[:, :1]
        visible = x[:, 1:] + pos_embed[0, 1:][plan.ids_visible]
        masked = self.mask_token + pos_embed[0, 1:][plan.ids_masked]
        x = torch.cat([cls_token, visible, masked], dim=1)
        for block in self.decoder_blocks[:-1]:
            x = block(x)
        for block in self.decoder_blocks[-1:]:  # none of depth 0
            x = block(x, masked.shape[1])
        x = x[:, -masked.shape[1]:]
        return self.decoder_pred(self.decoder_norm(x))


@MODELS.register_module()
class AMTMAEPretrainHead(MAEPretrainHead):
    """MAE's loss, which builds the targets of the masked patches only.

    Args:
        saliency_weight (float): The share, in [0, 1], of a masked patch's
            weight in the loss that follows its saliency; the weights of an
            image have the mean 1. Above 0 it needs
            ``AMTMaskGenerator(with_saliency=True)``. The idea is that of
            `AttG-MAE <https://arxiv.org/abs/2402.15172>`_. Defaults to 0.
        **kwargs: Those of :class:`mmpretrain.models.MAEPretrainHead`.
    """

    def __init__(self, saliency_weight: float = 0., **kwargs: Any) -> None:
        # a string such as 'False' would count as True
        check_bool('norm_pix', kwargs.get('norm_pix', False))
        super().__init__(**kwargs)
        self.saliency_weight = check_number('saliency_weight',
                                            saliency_weight, '[0, 1]')

    def loss(self, pred: Tensor, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Compare predictions (B, M, p * p * C) with the images' patches."""
        target = self.construct_target(self.masked_pixels(inputs, plan))
        return self.loss_module(
            pred, target, plan.loss_weights(self.saliency_weight))

    def construct_target(self, target: Tensor) -> Tensor:
        """Normalise pixels (B, M, p * p * C) if ``norm_pix`` is set."""
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
        patches = pred.unflatten(-1, (self.patch_size, self.patch_size, -1))
        return plan.paste(inputs, plan.ids_masked,
                          patches.permute(0, 1, 4, 2, 3))


@MODELS.register_module()
class AMTMAE(PixelAMT):
    """MAE with attention-driven masking and throwing.

    Source: Good helper is around you: Attention-driven Masked Image Modeling
    (AAAI 2023), on top of `MAE <https://arxiv.org/abs/2111.06377>`_.

    Args:
        **kwargs: Those of :class:`PixelAMT`.
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

    def predict(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Predict the masked patches (B, M, p * p * C)."""
        if not self.neck.inter_block:
            return super().predict(inputs, plan)
        return self.neck(self.backbone(inputs, plan, all_blocks=True), plan)

    def sizes(self) -> Sizes:
        """Return the sizes that must fit, by name."""
        vit, neck, head = self.backbone, self.neck, self.head
        depth = vit.num_layers
        return {
            'neck.embed_dim': (neck.embed_dim, vit.embed_dims,
                               'embed_dims of backbone.arch'),
            'neck.encoder_depth': (getattr(neck, 'encoder_depth', depth),
                                   depth, 'num_layers of backbone.arch'),
            'neck.num_patches': (neck.grid, tuple(vit.patch_resolution),
                                 'backbone.img_size / backbone.patch_size'),
            'head.patch_size': (head.patch_size, vit.patch_size,
                                'backbone.patch_size'),
            'neck.predict_feature_dim or neck.patch_size ** 2 * neck.in_chans':
            (neck.decoder_pred.out_features,
             head.patch_size**2 * head.in_channels,
             'head.patch_size ** 2 * head.in_channels'),
        }


def sincos_position_embedding(grid: tuple[int, int], width: int) -> Tensor:
    """Return mmpretrain's fixed embedding (1, 1 + L, D) for any grid."""
    h, w = grid
    # it lists the tokens column by column: transposed, row by row
    return build_2d_sincos_position_embedding((w, h), width, cls_token=True)


def _decoder_grid(num_patches: Any) -> tuple[int, int]:
    """Return the grid (h, w) of a number of patches, square if one number."""
    if isinstance(num_patches, int):
        side = isqrt(check_int('num_patches', num_patches, 1))
        if side * side != num_patches:
            raise ValueError('num_patches must be (h, w) where it is not a '
                             f'square number, got {num_patches}.')
        num_patches = side, side
    return check_sides('num_patches', num_patches)


def pixel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each patch, as MAE has them."""
    var, mean = torch.var_mean(pixels, dim=-1, keepdim=True)
    return mean, (var + 1.e-6)**.5
