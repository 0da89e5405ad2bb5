"""SimMIM on a ViT, with masks and savings from a plan made in the data.

Shape letters: B batch, L tokens, V visible, M masked, K kept (1 + V + M, the
class token first), D width, C channels, H heads, p patch size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import VisionTransformer
from mmpretrain.models.heads import SimMIMHead
from mmpretrain.models.necks import SimMIMLinearDecoder
from mmpretrain.models.selfsup.beit import BEiTPretrainViT
from torch import Tensor, nn

from amt_mm.arguments import check_bool, check_int, check_number
from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import MODELS

from .base import PixelAMT, Sizes
from .vit import KeptTokensViT, kept_rows, loads_weights


@MODELS.register_module()
class AMTSimMIMViT(KeptTokensViT, VisionTransformer):
    """SimMIM's encoder with absolute positions, over the kept tokens.

    Without a plan it is mmpretrain's ``VisionTransformer``, and its state dict
    is that of one plus ``mask_token``. Any grid is allowed, square or not.

    Args:
        out_type (str): What it returns without a plan. Defaults to ``'raw'``.
        **kwargs: Those of :class:`mmpretrain.models.VisionTransformer`.
    """

    no_mask = ()

    def __init__(self, out_type: str = 'raw', **kwargs: Any) -> None:
        super().__init__(out_type=out_type, **kwargs)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))

    def init_weights(self) -> None:
        """Initialise as ``VisionTransformer``, and the two tokens."""
        super().init_weights()
        if not loads_weights(self.init_cfg):
            nn.init.trunc_normal_(self.cls_token, std=.02)
            nn.init.trunc_normal_(self.mask_token, std=.02)


@MODELS.register_module()
class AMTBEiTPretrainViT(KeptTokensViT, BEiTPretrainViT):
    """BEiT's encoder, whose blocks share one relative position bias.

    This is the ViT of SimMIM as published (``USE_SHARED_RPB``, no absolute
    positions). The bias is gathered at the kept tokens. Its table belongs to
    one grid, so inputs must have ``img_size``.

    Args:
        use_rel_pos_bias (bool): Must be False: a table of each block is for
            fine-tuning, where mmpretrain's ``BEiTViT`` expands the shared one.
            Defaults to False.
        **kwargs: Those of
            :class:`mmpretrain.models.selfsup.BEiTPretrainViT`.
    """

    def __init__(self, use_rel_pos_bias: bool = False, **kwargs: Any) -> None:
        if check_bool('use_rel_pos_bias', use_rel_pos_bias):
            raise ValueError('use_rel_pos_bias must be False, got True: '
                             'pre-train with use_shared_rel_pos_bias=True.')
        super().__init__(**kwargs)
        self.pre_norm = nn.Identity()

    def shared_by_layers(self, plan: MaskPlan) -> tuple[Tensor | None, ...]:
        """Return the bias between the kept tokens (B, H, K, K)."""
        if self.rel_pos_bias is None:
            return (None, )
        if plan.grid != tuple(self.patch_resolution):
            raise ValueError(
                'img_size must be that of the inputs with relative positions: '
                f'its grid is {tuple(self.patch_resolution)}, the plan has '
                f'{plan.grid}.')
        rows = kept_rows(plan)
        index_BKK = self.rel_pos_bias.relative_position_index[
            rows[:, :, None], rows[:, None, :]]
        table = self.rel_pos_bias.relative_position_bias_table
        return (F.embedding(index_BKK, table).permute(0, 3, 1, 2), )


@MODELS.register_module()
class AMTSimMIMLinearDecoder(SimMIMLinearDecoder):
    """SimMIM's linear decoder, applied to the masked tokens only.

    The parameters are those of mmpretrain's 1 x 1 convolution. Its pixel
    shuffle turns the outputs of a token, in the order (C, p, p), into the
    pixels of its patch; here they stay in that order, one row a patch.

    Args:
        in_channels (int): Width D of the tokens.
        encoder_stride (int): Side p of a patch, in pixels.
        out_channels (int): Channels C of the images. Defaults to 3.
    """

    def __init__(self, in_channels: int, encoder_stride: int,
                 out_channels: int = 3) -> None:
        super().__init__(in_channels, encoder_stride)
        if out_channels != 3:
            self.decoder[0] = nn.Conv2d(
                in_channels, encoder_stride**2 * out_channels, 1)

    def forward(self, latent: Tensor, plan: MaskPlan) -> Tensor:
        """Predict (B, M, C * p * p) from the latent (B, 1 + V + M, D)."""
        conv = self.decoder[0]
        masked = latent[:, -plan.ids_masked.shape[1]:]
        return F.linear(masked, conv.weight.flatten(1), conv.bias)


@MODELS.register_module()
class AMTSimMIMHead(SimMIMHead):
    """SimMIM's loss, which builds the targets of the masked patches only.

    Args:
        patch_size (int): Side p of a patch, in pixels.
        loss (dict): Config of the loss of pixels: SimMIM's is
            ``PixelReconstructionLoss(criterion='L1', channel=3)``.
        saliency_weight (float): See :class:`AMTMAEPretrainHead`.
            Defaults to 0.
    """

    def __init__(self,
                 patch_size: int,
                 loss: dict[str, Any],
                 saliency_weight: float = 0.) -> None:
        super().__init__(check_int('patch_size', patch_size, 1), loss)
        self.saliency_weight = check_number('saliency_weight',
                                            saliency_weight, '[0, 1]')

    def loss(self, pred: Tensor, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Compare predictions (B, M, C * p * p) with the images' patches."""
        target = plan.patches(inputs, plan.ids_masked)
        weights = plan.loss_weights(self.saliency_weight)
        # with a mask, of pixels, the loss also divides by its channels
        mask = weights[:, :, None, None, None].expand_as(target[:, :, :1])
        return self.loss_module(pred.view_as(target), target, mask)

    def reconstruct(self, pred: Tensor, inputs: Tensor,
                    plan: MaskPlan) -> Tensor:
        """Put predictions into the images (B, C, H, W) at masked patches."""
        patches = pred.unflatten(-1, (-1, self.patch_size, self.patch_size))
        return plan.paste(inputs, plan.ids_masked, patches)


@MODELS.register_module()
class AMTSimMIM(PixelAMT):
    """SimMIM with attention-driven masking and throwing.

    Source: Good helper is around you: Attention-driven Masked Image Modeling
    (AAAI 2023), on top of `SimMIM <https://arxiv.org/abs/2111.09886>`_. Cells
    of 32 pixels come from ``AMTMaskGenerator(cell_size=32, rounding='ceil')``.
    The backbone is ``AMTSimMIMViT`` (absolute positions, as the paper has it)
    or ``AMTBEiTPretrainViT`` (relative ones, as SimMIM has it).

    Args:
        **kwargs: Those of :class:`PixelAMT`.
    """

    parts = dict(
        backbone=KeptTokensViT,
        neck=AMTSimMIMLinearDecoder,
        head=AMTSimMIMHead)
    of_backbone = dict(
        neck=dict(in_channels='embed_dims', encoder_stride='patch_size',
                  out_channels='patch_embed.projection.in_channels'),
        head=dict(patch_size='patch_size'))

    def sizes(self) -> Sizes:
        """Return the sizes that must fit, by name."""
        vit, conv = self.backbone, self.neck.decoder[0]
        num_channels = vit.patch_embed.projection.in_channels
        channel = getattr(self.head.loss_module, 'channel', 1)
        return {
            'neck.in_channels': (conv.in_channels, vit.embed_dims,
                                 'embed_dims of backbone.arch'),
            'head.patch_size': (self.head.patch_size, vit.patch_size,
                                'backbone.patch_size'),
            'neck.encoder_stride': (self.neck.decoder[1].upscale_factor,
                                    vit.patch_size, 'backbone.patch_size'),
            'neck.out_channels': (conv.out_channels // vit.patch_size**2,
                                  num_channels, 'backbone.in_channels'),
            # 1, mmpretrain's default, sums over the channels
            'head.loss.channel': (
                channel if channel != 1 else num_channels,
                num_channels, 'backbone.in_channels'),
        }
