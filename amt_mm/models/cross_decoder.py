"""A decoder of MAE whose mask tokens do not see each other.

Shape letters: B batch, V visible, M masked (and predicted), D width of the
encoder, E width of the decoder, N blocks of the encoder, C channels, p patch
size.
"""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from mmpretrain.models.utils import build_norm_layer, resize_pos_embed
from torch import Tensor, nn

from amt_mm.arguments import check_bool, check_int
from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import MODELS

from .mae import AMTMAEPretrainDecoder, attend
from .vit import loads_weights


class CrossAttentionLayer(TransformerEncoderLayer):
    """A layer whose tokens attend to others, not to each other."""

    @classmethod
    def convert(cls, layer: Any, memory_dims: int) -> None:
        """Have a layer of self-attention attend to tokens of a width D."""
        width = layer.embed_dims
        layer.__class__ = cls
        del layer.attn.qkv
        layer.attn.q = nn.Linear(width, width)
        layer.attn.kv = nn.Linear(memory_dims, 2 * width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Let tokens (B, M, E) attend to those of a memory (B, 1 + V, D)."""
        query = self.attn.q(self.ln1(x))
        return attend(self, x, query, self.attn.kv(memory))


@MODELS.register_module()
class AMTCrossDecoder(AMTMAEPretrainDecoder):
    """MAE's decoder with cross-attention alone.

    The queries are mask tokens with their positions, which attend to the
    latent and not to each other, so a prediction does not depend on which
    others are made: with ``predict_ratio`` of ``AMTMaskGenerator`` a share of
    the masked patches need be predicted. Each layer projects the latent by
    itself, so there is no ``decoder_embed``. Source: `Rethinking Patch
    Dependence for Masked Autoencoders <https://arxiv.org/abs/2401.14391>`_,
    sections 3.2 to 3.4; there a decoder is 12 layers deep.

    Args:
        inter_block (bool): Whether each layer attends to a weighted sum, of
            learned weights, of what goes into the first block of the encoder
            and comes out of each (section 3.4), and not to the latent. The
            last of these is the latent, which the encoder has normalised.
            Defaults to False.
        encoder_depth (int): Blocks N of the encoder; a model takes it of its
            backbone. Defaults to 12.
        norm_cfg (dict): Normalisation of all layers.
            Defaults to ``dict(type='LN', eps=1e-6)``.
        **kwargs: Those of :class:`AMTMAEPretrainDecoder`.

    Raises:
        ValueError: If ``decoder_depth`` is 0, as nothing would see the latent.
    """

    of_backbone = dict(encoder_depth='num_layers')

    def __init__(self,
                 inter_block: bool = False,
                 encoder_depth: int = 12,
                 norm_cfg: dict[str, Any] | None = None,
                 **kwargs: Any) -> None:
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-6)
        super().__init__(norm_cfg=norm_cfg, **kwargs)
        depth = check_int('decoder_depth', len(self.decoder_blocks), 1)
        self.inter_block = check_bool('inter_block', inter_block)
        self.encoder_depth = check_int('encoder_depth', encoder_depth, 1)
        del self.decoder_embed
        for block in self.decoder_blocks:
            CrossAttentionLayer.convert(block, self.embed_dim)
        if inter_block:
            self.block_weights = nn.Parameter(
                torch.zeros(depth, 1 + encoder_depth))
            self.block_norms = nn.ModuleList(
                build_norm_layer(norm_cfg, self.embed_dim)
                for _ in range(depth))

    def init_weights(self) -> None:
        """Initialise as MAE's decoder; the sums have a variance of one."""
        super().init_weights()
        if self.inter_block and not loads_weights(self.init_cfg):
            num_maps = self.block_weights.shape[1]
            nn.init.normal_(self.block_weights, std=num_maps**-.5)

    def forward(self, latent: Tensor, plan: MaskPlan) -> Tensor:
        """Predict (B, M, p * p * C) from the latent (B, 1 + V, D).

        With ``inter_block`` it is that of all blocks (1 + N, B, 1 + V, D).
        """
        pos_embed = resize_pos_embed(self.decoder_pos_embed, self.grid,
                                     plan.grid)
        x = self.mask_token + pos_embed[0, 1:][plan.ids_masked]
        for block, memory in zip(self.decoder_blocks, self.memories(latent),
                                 strict=True):
            x = block(x, memory)
        return self.decoder_pred(self.decoder_norm(x))

    def memories(self, latent: Tensor) -> list[Tensor]:
        """Return what each layer attends to (B, 1 + V, D)."""
        if not self.inter_block:
            return [latent] * len(self.decoder_blocks)
        sums = torch.tensordot(self.block_weights, latent, 1)
        return [norm(own) for norm, own in zip(self.block_norms, sums,
                                               strict=True)]
