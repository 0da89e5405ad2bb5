"""What a ViT is, read off its tensors where they tell.

Shape letters: L tokens, D width, C channels, p patch size, F hidden width of
the MLP, H heads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mmpretrain.models import VisionTransformer
from torch import Tensor

from ..config_text import part
from ..grid import Grid
from ..state import summary

EPS = 1e-6  # mmpretrain's ViT where a config does not name another
BLOCK = ('ln1.weight', 'ln1.bias', 'attn.qkv.weight', 'attn.qkv.bias',
         'attn.proj.weight', 'attn.proj.bias', 'ln2.weight', 'ln2.bias',
         'ffn.layers.0.0.weight', 'ffn.layers.0.0.bias', 'ffn.layers.1.weight',
         'ffn.layers.1.bias')
STEM = ('cls_token', 'pos_embed', 'patch_embed.projection.weight',
        'patch_embed.projection.bias')


@dataclass(frozen=True)
class PlainViT:
    """Sizes of a ViT with a class token and absolute positions.

    ``averages`` says that it ends in the norm of the averaged patches, as
    after fine-tuning MAE, and not in a norm of all tokens.
    """

    width: int
    depth: int
    num_heads: int
    hidden_width: int
    patch_size: int
    image_size: tuple[int, int]
    in_channels: int
    qkv_bias: bool
    eps: float
    averages: bool

    def __str__(self) -> str:
        h, w = self.image_size
        return (f'ViT of {self.depth} layers, width {self.width}, '
                f'{self.num_heads} heads, patches of {self.patch_size}, '
                f'images of {h} x {w}')


def describe_vit(state: dict[str, Tensor], config: dict[str, Any],
                 num_heads: int | None, grid: Grid | None) -> PlainViT:
    """Describe an encoder.

    Args:
        state (dict[str, Tensor]): Its tensors, without a mask token.
        config (dict): Config of the backbone; may be empty.
        num_heads (int, optional): Heads H, where neither the config nor the
            sizes of a known architecture tell.
        grid (tuple[int, int], optional): Grid of its tokens, None if unknown.

    Raises:
        ValueError: If it is no plain ViT, or heads or image size are not
            known.
    """
    depth = count_blocks(state, 'layers')
    averages = 'ln1.weight' not in state
    qkv_bias = any(key.endswith('attn.qkv.bias') for key in state)
    norm = 'ln2' if averages else 'ln1'
    check_keys(state, [
        *STEM, *block_keys('layers', depth, qkv_bias), f'{norm}.weight',
        f'{norm}.bias'
    ])
    check_activation(config)
    shape = state['patch_embed.projection.weight'].shape
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError('its patches must be square, got a projection of '
                         f'shape {tuple(shape)}.')
    width, channels, p, _ = shape
    hidden = len(state['layers.0.ffn.layers.0.0.weight'])
    return PlainViT(
        width=width,
        depth=depth,
        num_heads=find_heads((width, depth, hidden), config, num_heads),
        hidden_width=hidden,
        patch_size=p,
        image_size=find_image_size(state['pos_embed'], grid, p, config),
        in_channels=channels,
        qkv_bias=qkv_bias,
        eps=norm_eps(config),
        averages=averages)


def count_blocks(state: dict[str, Tensor], name: str) -> int:
    """Count the blocks under a name."""
    found = (re.match(rf'{name}\.(\d+)\.', key) for key in state)
    # none at all is missed as the first
    return len({match[1] for match in found if match}) or 1


def block_keys(name: str, depth: int, qkv_bias: bool = True) -> list[str]:
    """List the keys of plain transformer blocks."""
    return [
        f'{name}.{i}.{key}' for i in range(depth) for key in BLOCK
        if qkv_bias or key != 'attn.qkv.bias'
    ]


def check_keys(state: dict[str, Tensor], expected: list[str]) -> None:
    """Raise ValueError if the tensors are not those of a plain ViT."""
    if any('rel_pos' in key or 'relative_position' in key for key in state):
        raise ValueError(
            'its encoder has relative position biases, which a plain ViT has '
            'no place for: --to mmpretrain is the export it has.')
    lacked = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in set(expected)]
    if lacked or unknown:
        raise ValueError('its encoder is no plain ViT with a class token: it '
                         f'lacks {summary(lacked)}; it has besides '
                         f'{summary(unknown)}.')


def check_activation(config: dict[str, Any]) -> None:
    """Refuse another activation than GELU, which no tensor would show."""
    layers = config.get('layer_cfgs')
    for layer in layers if isinstance(layers, list) else [layers]:
        name = part(layer, 'act_cfg').get('type', 'GELU')
        if name != 'GELU':
            raise ValueError('act_cfg of its layers must be GELU, got '
                             f'{name}.')


def find_heads(sizes: tuple[int, int, int], config: dict[str, Any],
               num_heads: int | None) -> int:
    """Return the heads: as told, as configured, or as the sizes have them."""
    zoo = VisionTransformer.arch_zoo
    arch = config.get('arch')
    if isinstance(arch, str):
        arch = zoo.get(arch.lower())
    configured = part(arch).get('num_heads')
    if num_heads is not None:
        check_heads(num_heads, sizes[0])
    if num_heads and configured and num_heads != configured:
        raise ValueError(f'--num-heads {num_heads} contradicts the config of '
                         f'the checkpoint, which has {configured}.')
    names = 'embed_dims', 'num_layers', 'feedforward_channels'
    same = (a for a in zoo.values() if tuple(a[n] for n in names) == sizes)
    known = next((a['num_heads'] for a in same), None)
    heads = num_heads or configured or known
    if not heads:
        raise ValueError(
            'the number of heads is not known: neither the checkpoint nor '
            f'mmpretrain knows a ViT of width {sizes[0]}, {sizes[1]} layers '
            f'and hidden width {sizes[2]}. Pass --num-heads N or --config.')
    return check_heads(heads, sizes[0])


def check_heads(heads: Any, width: int) -> int:
    """Return a number of heads that divides the width, or raise."""
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError('the number of heads must divide the width, got '
                         f'{heads} heads and width {width}.')
    return heads


def find_image_size(pos_embed: Tensor, grid: Grid | None, patch_size: int,
                    config: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of the images the positions are for."""
    if pos_embed.ndim != 3:
        raise ValueError('pos_embed of its encoder must be (1, 1 + L, D), got '
                         f'{tuple(pos_embed.shape)}.')
    if grid is None:
        raise ValueError(
            f'the grid of its {pos_embed.shape[1] - 1} tokens is not known: '
            'neither the file nor a config in it says how they lie. Pass '
            '--grid HEIGHT WIDTH, in patches, or --config.')
    size = config.get('img_size')
    h, w = size if isinstance(size, (list, tuple)) else (size, size)
    if isinstance(h, int) and isinstance(w, int) and (
            h // patch_size, w // patch_size) == grid:
        return h, w
    return grid[0] * patch_size, grid[1] * patch_size


def norm_eps(config: dict[str, Any]) -> float:
    """Return the epsilon of the layer norms."""
    norm = config.get('norm_cfg')
    # mmpretrain's own default where a norm_cfg names none
    return float(norm.get('eps', 1e-5)) if isinstance(norm, dict) else EPS
