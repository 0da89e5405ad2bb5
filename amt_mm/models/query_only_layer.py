"""The last layer before a prediction of some tokens only.

Shape letters: B batch, L tokens, M tokens that are read, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from torch import Tensor


class QueryOnlyLayer(TransformerEncoderLayer):
    """A transformer layer that makes nothing but its last tokens.

    They attend to all tokens; of the others, which nothing reads any more,
    neither queries nor the feed-forward network are worked out. Parameters
    and results are those of the whole layer.
    """

    def forward(self, x: Tensor, number: int) -> Tensor:
        """Turn tokens (B, L, D) into the last ones (B, M, D), M = number."""
        attn, width = self.attn, self.embed_dims
        weight, bias = attn.qkv.weight, attn.qkv.bias
        heads = attn.num_heads, attn.head_dims
        normed = self.ln1(x)
        query = F.linear(normed[:, -number:], weight[:width],
                         bias if bias is None else bias[:width])
        key_value = F.linear(normed, weight[width:],
                             bias if bias is None else bias[width:])
        key, value = key_value.unflatten(-1, (2, *heads)).permute(
            2, 0, 3, 1, 4)
        y = attn.scaled_dot_product_attention(
            query.unflatten(-1, heads).transpose(1, 2), key, value,
            dropout_p=attn.attn_drop if self.training else 0.)
        y = attn.proj(y.transpose(1, 2).flatten(2))
        x = x[:, -number:] + attn.out_drop(attn.gamma1(attn.proj_drop(y)))
        return self.ffn(self.ln2(x), identity=x)
