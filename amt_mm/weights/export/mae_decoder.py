"""What MAE's decoder is, read off its tensors where they tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..config_text import part
from .plain_vit import (
    PlainViT,
    block_keys,
    check_heads,
    check_keys,
    count_blocks,
    norm_eps,
)

FRAME = ('mask_token', 'decoder_pos_embed', 'decoder_embed.weight',
         'decoder_embed.bias', 'ln1.weight', 'ln1.bias',
         'decoder_pred.weight', 'decoder_pred.bias')


@dataclass(frozen=True)
class MAEDecoder:
    """Sizes of MAE's decoder, and what its loss compares."""

    width: int
    depth: int
    num_heads: int
    hidden_width: int
    norm_pix: bool
    mask_ratio: float


def describe_decoder(state: dict[str, Tensor], vit: PlainViT,
                     model: dict[str, Any]) -> MAEDecoder:
    """Describe a decoder.

    Args:
        state (dict[str, Tensor]): Its tensors.
        vit (PlainViT): The encoder.
        model (dict): Config of the whole model, needed for the heads and for
            what the pixels are normalised by.

    Raises:
        ValueError: If there is no such config, or it is no decoder of MAE.
    """
    neck, head = part(model, 'neck'), part(model, 'head')
    if not neck or not head:
        raise ValueError(
            'the checkpoint holds no config, and its tensors tell neither the '
            "decoder's heads nor its loss: pass --config, or --encoder-only.")
    depth = count_blocks(state, 'decoder_blocks')
    check_keys(state, [*FRAME, *block_keys('decoder_blocks', depth)])
    if norm_eps(neck) != vit.eps:
        raise ValueError('norm_cfg of encoder and decoder must have the same '
                         f'eps, got {vit.eps} and {norm_eps(neck)}.')
    outputs = len(state['decoder_pred.weight'])
    if outputs != vit.patch_size**2 * vit.in_channels:
        raise ValueError(
            f'its decoder must predict {vit.in_channels} x {vit.patch_size} x '
            f'{vit.patch_size} pixels of a patch, got {outputs} numbers.')
    width = state['mask_token'].shape[-1]
    return MAEDecoder(
        width=width,
        depth=depth,
        # mmpretrain's own defaults where a config does not name them
        num_heads=check_heads(neck.get('decoder_num_heads', 16), width),
        hidden_width=len(state['decoder_blocks.0.ffn.layers.0.0.weight']),
        norm_pix=bool(head.get('norm_pix', False)),
        mask_ratio=part(model, 'backbone').get('mask_ratio', 0.75))
