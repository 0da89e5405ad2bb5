"""What a checkpoint holds, read off its tensors where they tell.

Shape letters: L tokens, D width, C channels, p patch size, F hidden width of
the MLP, H heads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mmpretrain.models import VisionTransformer
from torch import Tensor

from ..config_text import part
from ..grid import PROJECTION, Grid, find_grid, square_grid
from ..layouts import NECK, PREFIX, Weights, looks_like, summary
from ..load import Loading, read_weights

EPS = 1e-6  # mmpretrain's ViT where a config does not name another
BLOCK = ('ln1.weight', 'ln1.bias', 'attn.qkv.weight', 'attn.qkv.bias',
         'attn.proj.weight', 'attn.proj.bias', 'ln2.weight', 'ln2.bias',
         'ffn.layers.0.0.weight', 'ffn.layers.0.0.bias', 'ffn.layers.1.weight',
         'ffn.layers.1.bias')
STEM = ('cls_token', 'pos_embed', PROJECTION, 'patch_embed.projection.bias')


@dataclass(frozen=True)
class PlainViT:
    """Sizes of a ViT with a class token and absolute positions."""

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


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation on the scale of 0 to 255: ImageNet's."""

    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    channels: str = 'RGB'

    def scaled(self) -> tuple[list[float], list[float]]:
        """Return both on the scale of 0 to 1."""
        mean, std = ([round(value / 255, 6) for value in values]
                     for values in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a checkpoint, worked out when asked for."""

    weights: Weights
    num_heads: int | None = None
    told_grid: Grid | None = None

    @property
    def config(self) -> dict[str, Any]:
        """Config of the run; may be empty."""
        return part(self.weights.meta, 'cfg')

    @cached_property
    def encoder(self) -> dict[str, Tensor]:
        """The encoder's tensors, without the mask token of pre-training."""
        self.weights.check()
        if PROJECTION not in self.weights.encoder:
            raise ValueError('it holds no encoder: it should have '
                             f'{PREFIX}{PROJECTION}, got '
                             f'{summary(self.weights.state)}.')
        return {key: value for key, value in self.weights.encoder.items()
                if key != 'mask_token'}

    @cached_property
    def grid(self) -> Grid | None:
        """Height and width of the encoder's grid, None if nothing tells."""
        known = find_grid(self.encoder, self.weights.meta, self.told_grid)
        return known or (square_grid(self.encoder)
                         if self.weights.library else None)

    @cached_property
    def decoder(self) -> dict[str, Tensor]:
        """The tensors of MAE's decoder, empty where there is none."""
        state = {key.removeprefix(NECK): value
                 for key, value in self.weights.others.items()
                 if key.startswith(NECK)}
        return state if 'decoder_embed.weight' in state else {}

    @cached_property
    def vit(self) -> PlainViT:
        """What the encoder is; ValueError if it is no plain ViT."""
        state = self.encoder
        config = part(self.config, 'model', 'backbone')
        depth = count_blocks(state, 'layers')
        averages = 'ln1.weight' not in state
        qkv_bias = any(key.endswith('attn.qkv.bias') for key in state)
        norm = 'ln2' if averages else 'ln1'
        check_keys(state, [
            *STEM, *block_keys('layers', depth, qkv_bias), f'{norm}.weight',
            f'{norm}.bias'
        ])
        check_activation(config)
        width, channels, p, q = state[PROJECTION].shape
        if p != q:
            raise ValueError('its patches must be square, got a projection of '
                             f'shape {tuple(state[PROJECTION].shape)}.')
        hidden = len(state['layers.0.ffn.layers.0.0.weight'])
        return PlainViT(
            width=width,
            depth=depth,
            num_heads=find_heads((width, depth, hidden), self),
            hidden_width=hidden,
            patch_size=p,
            image_size=find_image_size(self, p, config),
            in_channels=channels,
            qkv_bias=qkv_bias,
            eps=norm_eps(config, self.weights.meta),
            averages=averages)

    @cached_property
    def normalization(self) -> Normalization:
        """By the tensors, else by the config, else ImageNet's."""
        own = part(self.config, 'data_preprocessor') or part(
            self.config, 'model', 'data_preprocessor')
        order = 'RGB' if not own or any(
            own.get(key) for key in ('to_rgb', 'bgr_to_rgb')) else 'BGR'
        mean, std = (
            own.get(name) if tensor is None else tensor.flatten().tolist()
            for name in ('mean', 'std')
            for tensor in [self.weights.others.get(
                f'data_preprocessor.{name}')])
        return Normalization(tuple(mean), tuple(std), order) \
            if mean and std else Normalization(channels=order)

    def report(self, with_decoder: bool = False) -> str:
        """Name the keys that are exported, and those left."""
        parts = [self.encoder, self.decoder if with_decoder else {}]
        own = {id(value) for part in parts for value in part.values()}
        state = self.weights.state
        taken = [key for key, value in state.items() if id(value) in own]
        left = [key for key in state if key not in set(taken)]
        return (f'exported from {self.weights.source()}: '
                f'{Loading(taken, [], left, [])}')


def open_checkpoint(path: str,
                    num_heads: int | None = None,
                    config: dict[str, Any] | None = None,
                    grid: Grid | None = None) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    The config is taken instead of the text in the file; heads and grid (h, w)
    are told where neither says them. Raises ValueError if the file cannot be
    read or holds no tensor.
    """
    weights = read_weights(path)
    if config is not None:
        weights = replace(weights, meta={**weights.meta, 'cfg': config})
    return Checkpoint(weights, num_heads, grid)


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
            'its encoder has relative position biases, which a plain ViT '
            'lacks: use --to mmpretrain.')
    lacked = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in set(expected)]
    if lacked or unknown:
        raise ValueError('its encoder is not a plain ViT with a class token: '
                         f'it lacks {summary(lacked)}; it also has '
                         f'{summary(unknown)}{looks_like(state)}.')


def check_activation(config: dict[str, Any]) -> None:
    """Refuse another activation than GELU, which no tensor would show."""
    layers = config.get('layer_cfgs')
    for layer in layers if isinstance(layers, list) else [layers]:
        name = part(layer, 'act_cfg').get('type', 'GELU')
        if name != 'GELU':
            raise ValueError('act_cfg of its layers must be GELU, got '
                             f'{name}.')


def find_heads(sizes: tuple[int, int, int], checkpoint: Checkpoint) -> int:
    """Return the heads: as told, as stated, or as the sizes have them."""
    told, stated = checkpoint.num_heads, checkpoint.weights.num_heads
    if told is not None:
        check_heads(told, sizes[0])
    if told and stated and told != stated:
        raise ValueError(f'--num-heads {told} contradicts the checkpoint, '
                         f'which has {stated}.')
    names = 'embed_dims', 'num_layers', 'feedforward_channels'
    known = next((arch['num_heads'] for arch
                  in VisionTransformer.arch_zoo.values()
                  if tuple(arch[n] for n in names) == sizes), None)
    heads = told or stated or known
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


def find_image_size(checkpoint: Checkpoint, patch_size: int,
                    config: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of the images the positions are for."""
    grid, pos_embed = checkpoint.grid, checkpoint.encoder['pos_embed']
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


def norm_eps(config: dict[str, Any],
             meta: dict[str, Any] | None = None) -> float:
    """Return the epsilon of the layer norms."""
    stated = part(meta, 'hf_config').get('layer_norm_eps') or (
        meta or {}).get('norm_eps', EPS)
    norm = config.get('norm_cfg')
    # mmpretrain's own default where a norm_cfg names none
    return float(norm.get('eps', 1e-5) if isinstance(norm, dict) else stated)
