"""The saliency of an image, from a ViT.

It is the attention of the class token in the last block (Eq. 3-4), or how
unlike the border of the image the tokens of a block are.

Shape letters: B batch, (h, w) token grid, L patch tokens, N of them on the
border, D width, H heads, E width of a head; in names of tensors over all
tokens, L counts the class token too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.models import BEiTViT
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from amt_mm.arguments import check_choice

from .pixels import NEIGHBOURS, shortest_ways

# tokens of the border that each token is compared with
NUM_NEAREST = 5


def cls_attention(block: Any,
                  x: Tensor,
                  bias_HLL: Tensor | None = None) -> Tensor:
    """Return the class token's attention in one block, (B, H, L) float32.

    Of tokens (B, 1 + L, D), class token first, it is the first row of
    ``softmax(q k^T / sqrt(E) + bias)`` without its first entry, in float32
    under autocast too. A bias that BEiT's blocks share is (H, 1 + L, 1 + L).
    """
    x = block.ln1(x).float()
    # autocast does not know tensors without data
    with nullcontext() if x.is_meta else torch.autocast(
            x.device.type, enabled=False):
        scores = _cls_scores(block.attn, x)
    if bias_HLL is not None:
        scores = scores + bias_HLL[:, 0]
    return scores.softmax(dim=-1)[..., 1:]


def _cls_scores(attn: Any, x: Tensor) -> Tensor:
    """Return the scaled scores (B, H, 1 + L) of the class token's query."""
    heads = (attn.num_heads, attn.embed_dims // attn.num_heads)
    q_proj, k_proj = attn.qkv.weight.float().chunk(3)[:2]
    # BEiT's attention has no bias of the keys and keeps the others apart
    q_bias = getattr(attn, 'q_bias', None) if attn.qkv.bias is None \
        else attn.qkv.bias.chunk(3)[0]
    if q_bias is not None:
        q_bias = q_bias.float()
    q_BHE = F.linear(x[:, 0], q_proj, q_bias).unflatten(-1, heads)
    # q (W_k x) = (q W_k) x: with one query, no key need be computed; the
    # bias of the keys adds the same to every score and leaves the softmax
    q_BHD = torch.einsum('bhe,hed->bhd', q_BHE, k_proj.unflatten(0, heads))
    scores = torch.einsum('bhd,bld->bhl', q_BHD, x)
    scores = scores * getattr(attn, 'scale', heads[1]**-0.5)
    if getattr(attn, 'relative_position_bias_table', None) is not None:
        row = attn.relative_position_index[0]
        scores = scores + attn.relative_position_bias_table[row].T
    return scores


def vit_saliency(vit: Any,
                 images: Tensor,
                 reduction: str = 'mean_then_scale') -> Tensor:
    """Return :func:`vit_attention` as saliency (B, h, w) in [0, 1]."""
    attention = vit_attention(vit, images)
    saliency_BL = reduce_heads(attention.flatten(2), reduction)
    return saliency_BL.unflatten(1, attention.shape[2:])


def vit_attention(vit: Any, images: Tensor) -> Tensor:
    """Return the class token's attention (B, heads, h, w) in the last block.

    The ViT is mmpretrain's ``VisionTransformer`` or ``BEiTViT``, or a subclass
    of either, of normalised images (B, C, H, W).
    """
    x, grid, shared = enter_blocks(vit, images)
    for block in vit.layers[:-1]:
        x = block(x, *shared)
    return cls_attention(vit.layers[-1], x, *shared).unflatten(2, grid)


def enter_blocks(
        vit: Any, images: Tensor
) -> tuple[Tensor, tuple[int, int], tuple[Tensor | None, ...]]:
    """Return the tokens (B, 1 + L, D) that enter a ViT's first block.

    Also their grid (h, w), and what all blocks take: BEiT's shared bias.
    """
    if vit.cls_token is None:
        raise ValueError('vit must have a class token '
                         '(with_cls_token=True), got one without.')
    x, grid = vit.patch_embed(images)
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1)
    if vit.pos_embed is not None:
        x = x + resize_pos_embed(vit.pos_embed, vit.patch_resolution, grid,
                                 vit.interpolate_mode, vit.num_extra_tokens)
    x = vit.drop_after_pos(x)
    if isinstance(vit, BEiTViT):
        return x, grid, (vit.rel_pos_bias() if vit.rel_pos_bias else None, )
    return vit.pre_norm(x), grid, ()


def mean_then_scale(attn_BHL: Tensor) -> Tensor:
    """Average the heads, then scale each image to [0, 1] (the paper)."""
    return min_max(attn_BHL.mean(1))


def scale_then_mean(attn_BHL: Tensor) -> Tensor:
    """Scale each head to [0, 1], then average (the released code)."""
    return min_max(attn_BHL).mean(1)


HEAD_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = dict(
    mean_then_scale=mean_then_scale, scale_then_mean=scale_then_mean)


def reduce_heads(attn_BHL: Tensor,
                 reduction: str = 'mean_then_scale') -> Tensor:
    """Turn attention (B, H, L) into saliency (B, L) in [0, 1]."""
    check_choice('head_reduction', reduction, HEAD_REDUCTIONS)
    return HEAD_REDUCTIONS[reduction](attn_BHL)


def min_max(x: Tensor) -> Tensor:
    """Scale the last axis to [0, 1]; a constant becomes zeros."""
    low, high = x.aminmax(dim=-1, keepdim=True)
    span = high - low
    return (x - low) / span.clamp_min(1e-12)


# ---- tokens


def vit_tokens(vit: Any, images: Tensor, block: int = -1) -> Tensor:
    """Return the patch tokens (B, h, w, D) that leave a block of a ViT."""
    x, grid, shared = enter_blocks(vit, images)
    for layer in vit.layers[:block % len(vit.layers) + 1]:
        x = layer(x, *shared)
    return x[:, 1:].unflatten(1, grid)


def border_contrast(tokens: Tensor) -> np.ndarray:
    """Return one minus the mean cosine to the likest of the border."""
    tokens = F.normalize(tokens, dim=-1)
    on_border = torch.ones(tokens.shape[1:3], dtype=torch.bool)
    on_border[1:-1, 1:-1] = False
    border_BND = tokens[:, on_border.to(tokens.device)]
    cosines_BLN = tokens.flatten(1, 2) @ border_BND.mT
    nearest = cosines_BLN.topk(min(NUM_NEAREST, border_BND.shape[1])).values
    return (1 - nearest.mean(-1)).unflatten(1, tokens.shape[1:3]).cpu().numpy()


def token_distance(tokens: Tensor) -> np.ndarray:
    """Return the geodesic distance (B, h, w) of each token to the border.

    A step is as long as two tokens differ in direction.
    """
    h, w = tokens.shape[1:3]
    tokens = F.normalize(tokens, dim=-1)
    padded = F.pad(tokens.permute(0, 3, 1, 2), (1, 1, 1, 1), 'replicate')
    padded = padded.permute(0, 2, 3, 1)
    steps = torch.stack([
        (padded[:, y:y + h, x:x + w] - tokens).norm(dim=-1)
        for y, x in NEIGHBOURS])
    return shortest_ways(steps.cpu().numpy())


FEATURE_METHODS: dict[str, Callable[[Tensor], np.ndarray]] = dict(
    geodesic=token_distance, contrast=border_contrast)
