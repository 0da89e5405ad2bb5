"""Attention of mmpretrain's blocks, faster.

Shape letters: B batch, L tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor,
              **kwargs: Any) -> Tensor:
    """Return torch's scaled dot product attention, on a CPU in float32.

    There its backward pass takes 2 to 6 times as long in bfloat16 as in
    float32, for up to some 200 tokens (torch 2.11, with AMX).
    """
    if not query.is_cpu or query.dtype is torch.float32:
        return F.scaled_dot_product_attention(query, key, value, **kwargs)
    with torch.autocast('cpu', enabled=False):
        return F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), **kwargs)


def attend_by_heads(attn: MultiheadAttention, *parts: Tensor) -> Tensor:
    """Return what a module of attention makes of its query, key and value.

    The query is (B, M, D), as is the result; key and value are (B, L, D).
    """
    heads = attn.num_heads, attn.head_dims
    query, key, value = (part.unflatten(-1, heads).transpose(1, 2)
                         for part in parts)
    y = attn.scaled_dot_product_attention(
        query, key, value,
        dropout_p=attn.attn_drop if attn.training else 0.)
    y = attn.proj(y.transpose(1, 2).flatten(2))
    return attn.out_drop(attn.gamma1(attn.proj_drop(y)))


class SelfAttention(MultiheadAttention):
    """That of mmpretrain, of the same parameters and results.

    The gradients of query, key and value become one tensor in one copy; where
    they are selected, three are filled with zeros and added.
    """

    @classmethod
    def convert(cls, module: Any) -> None:
        """Have a module, if it is mmpretrain's own, compute as this class."""
        if type(module) is MultiheadAttention and not module.v_shortcut:
            module.__class__ = cls
        known = getattr(module, 'scaled_dot_product_attention', None)
        if known is F.scaled_dot_product_attention:
            module.scaled_dot_product_attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Let tokens (B, L, D) attend to each other."""
        return attend_by_heads(self, *self.qkv(x).chunk(3, -1))
