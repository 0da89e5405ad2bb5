"""The encoder of the methods whose mask tokens run through all blocks.

Shape letters: B batch, L tokens, V visible, M masked, K kept (1 + V + M, the
class token first), D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amt_mm.masking.plan import MaskPlan

from .visible_patch_vit import VisiblePatchViT


class KeptTokensViT(VisiblePatchViT):
    """A ViT over visible and mask tokens; the thrown leave before block one.

    Blocks do not mind the order of the tokens once their positions are added,
    so mask tokens are appended and nothing is shuffled back. To be named
    before a vision transformer that has a ``mask_token``.

    Args:
        **kwargs: Those of the vision transformer.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.cls_token is None:
            raise ValueError('with_cls_token must be True, got False: the '
                             'saliency is what the class token attends to.')

    def encode(self, images: Tensor, plan: MaskPlan) -> Tensor:
        """Encode the kept tokens (B, K, D), in the order of ``kept_rows``."""
        x = self.embed_kept(images, plan)
        for layer in self.layers:
            x = layer(x)
        return self.norm1(x)

    def embed_kept(self, images: Tensor, plan: MaskPlan) -> Tensor:
        """Return the input of the first block (B, K, D)."""
        visible = self.embed_visible(images, plan)
        masked = self.mask_token.expand(*plan.ids_masked.shape, -1)
        cls_token = self.cls_token.expand(len(visible), -1, -1)
        x = torch.cat([cls_token, visible, masked], dim=1)
        if self.pos_embed is not None:
            x = x + F.embedding(kept_rows(plan), self.positions(plan)[0])
        return self.pre_norm(self.drop_after_pos(x))


def kept_rows(plan: MaskPlan) -> Tensor:
    """Return the rows of a table (1 + L, ...) that are kept (B, K).

    Row 0 is the class token's; then come the visible, then the masked.
    """
    cls_row = torch.zeros_like(plan.ids_visible[:, :1])
    return torch.cat([cls_row, plan.ids_visible + 1, plan.ids_masked + 1], 1)
