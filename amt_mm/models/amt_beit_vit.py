"""A ViT with relative positions, as SimMIM was published, over kept tokens.

Shape letters: B batch, L tokens, V visible, M masked, K kept (1 + V + M, the
class token first), D width, C channels, H heads.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmpretrain.models.selfsup.beit import BEiTPretrainViT
from torch import Tensor, nn

from amt_mm.arguments import check_bool
from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import MODELS

from .kept_tokens_vit import KeptTokensViT, kept_rows


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

    def forward(self, x: Tensor, plan: MaskPlan | None = None) -> Tensor:
        """Encode images (B, C, H, W).

        Returns:
            Tensor | tuple[Tensor]: With a plan, the latent (B, 1 + V + M, D),
            class token first, masked last; else the outputs of ``BEiTViT``.
        """
        if plan is None:
            return super().forward(x, None)
        return self.encode(x, plan)

    def encode(self, images: Tensor, plan: MaskPlan) -> Tensor:
        """Encode the kept tokens (B, K, D), in the order of ``kept_rows``."""
        x = self.embed_kept(images, plan)
        bias_BHKK = self.kept_bias(plan)
        for layer in self.layers:
            x = layer(x, bias_BHKK)
        return self.norm1(x)

    def kept_bias(self, plan: MaskPlan) -> Tensor | None:
        """Return the bias between the kept tokens (B, H, K, K)."""
        if self.rel_pos_bias is None:
            return None
        if plan.grid != tuple(self.patch_resolution):
            raise ValueError(
                'img_size must be that of the inputs with relative positions: '
                f'its grid is {tuple(self.patch_resolution)}, the plan has '
                f'{plan.grid}.')
        rows = kept_rows(plan)
        index_BKK = self.rel_pos_bias.relative_position_index[
            rows[:, :, None], rows[:, None, :]]
        table = self.rel_pos_bias.relative_position_bias_table
        return F.embedding(index_BKK, table).permute(0, 3, 1, 2)
