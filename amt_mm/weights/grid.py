"""Bring positions, patches and channels of an encoder to those of a module.

The number of positions does not tell how they lie: 64 are 8 x 8 or 4 x 16.

Shape letters: L tokens of the grid (h, w), D width, H heads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import ceil, isqrt
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import (
    build_2d_sincos_position_embedding,
    resize_pos_embed,
)
from torch import Tensor, nn

from amt_mm.arguments import check_choice

from .config_text import part

Grid = tuple[int, int]

POS_EMBED = 'pos_embed'
PROJECTION = 'patch_embed.projection.weight'
# the relative positions of BEiT's blocks; Swin's lie in windows, not in a grid
TABLE = re.compile(
    r'^(rel_pos_bias|layers\.\d+\.attn)\.relative_position_bias_table$')
INDEX = re.compile(TABLE.pattern.replace('bias_table', 'index'))
NUM_CLS_OFFSETS = 3  # rows of a table that are of the class token
ADAPTABLE = ('in_channels', 'patch_size')  # on request alone


def find_grid(state: dict[str, Tensor], meta: dict[str, Any],
              grid: Grid | None = None) -> Grid | None:
    """Return the grid (h, w) of positions as told or stated, or None."""
    known = next((found for found in _candidates(state, meta)
                  if _fits(state, found)), None)
    if grid is None:
        return known
    grid = grid[0], grid[1]
    if not _fits(state, grid) or known not in (None, grid):
        raise ValueError('grid must be that of the pre-training, got '
                         f'{grid}, but the file has {_describe(state, known)}.'
                         )
    return grid


def square_grid(state: dict[str, Tensor]) -> Grid | None:
    """Return the square that positions are, None if they are none."""
    side = isqrt(state[POS_EMBED].shape[1]) if POS_EMBED in state else 0
    return (side, side) if _fits(state, (side, side)) else None


def fit_positions(module: nn.Module, state: dict[str, Tensor],
                  meta: dict[str, Any], what: str, grid: Grid | None = None,
                  assume_own_grid: bool = False,
                  assume_square: bool = False) -> dict[str, str]:
    """Bring the positions in a state to the grid of a module, in place.

    ``what`` names the tensors in an error. Returned are the keys that were
    resized, and how. Raises ValueError if the grid is not known.
    """
    own = module.state_dict()
    keys = [key for key in state if TABLE.match(key)]
    if POS_EMBED in own and POS_EMBED in state:
        keys.append(POS_EMBED)
    target = _pair(getattr(module, 'patch_resolution', None))
    is_named_otherwise = PROJECTION in own and PROJECTION not in state
    if target is None or not keys or is_named_otherwise:
        return {}  # it is refused by its keys
    source, grids = find_grid(state, meta, grid), ''
    if source is None and assume_own_grid and _fits(state, target):
        source = target
    if source is None and assume_square:
        source = square_grid(state)
        grids = ', taken as a square'
    if source is None:
        advice = ', or set img_size of the config to that it was made with' \
            if assume_own_grid else ''
        raise ValueError(
            f'the grid of {what} is not known: it has {_describe(state)}, and '
            'neither the file nor a config in it says how they lie. Pass '
            'grid=(height, width), in patches: as init_cfg.grid of the '
            f'backbone, or as --grid HEIGHT WIDTH of a tool{advice}.')
    mode = getattr(module, 'interpolate_mode', 'bicubic')
    shapes = {key: tuple(state[key].shape) for key in keys}
    for key in keys:
        state[key] = _fit_table(state[key], source, target) \
            if key != POS_EMBED else _fit_embedding(
                state[key], source, own[key].shape, target, mode)
    if source != target:
        grids = ', grid {} x {} -> {} x {}'.format(*source, *target) + grids
        # a buffer that the grid determines
        state.update({key: own.get(key, state[key])
                      for key in state if INDEX.match(key)})
    return {key: f'{shapes[key]} -> {tuple(state[key].shape)}{grids}'
            if shapes[key] != state[key].shape else f'{shapes[key]}{grids}'
            for key in keys if grids or shapes[key] != state[key].shape}


def _fit_embedding(value: Tensor, source: Grid, shape: torch.Size,
                   target: Grid, mode: str) -> Tensor:
    """Resize (1, 1 + L, D), (1, L, D) or (1, h, w, D) to the module's."""
    if value.ndim == 4:
        value = value.flatten(1, 2)
    num_extra = value.shape[1] - source[0] * source[1]
    num_own = 0 if len(shape) == 4 else shape[1] - target[0] * target[1]
    if num_own == 0:  # the module has no class token
        value, num_extra = value[:, num_extra:], 0
    elif num_extra == 0:  # timm may add positions to the patches alone
        value, num_extra = F.pad(value, (0, 0, num_own, 0)), num_own
    value = resize_pos_embed(value, source, target, mode, num_extra)
    return value.unflatten(1, target) if len(shape) == 4 else value


def _fit_table(table: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize a bias of all offsets (L', H), those of the class token last."""
    offsets, of_cls = table[:-NUM_CLS_OFFSETS], table[-NUM_CLS_OFFSETS:]
    (h, w), (new_h, new_w) = source, target
    offsets = resize_pos_embed(offsets[None], (2 * h - 1, 2 * w - 1),
                               (2 * new_h - 1, 2 * new_w - 1),
                               num_extra_tokens=0)[0]
    return torch.cat([offsets, of_cls])


# ---- patches and channels


def check_adapt(adapt: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return what may be changed, names of :data:`ADAPTABLE`, as a tuple."""
    names = (adapt, ) if isinstance(adapt, str) else tuple(adapt or ())
    return tuple(check_choice('adapt', name, ADAPTABLE) for name in names)


def fit_patches(module: nn.Module, state: dict[str, Tensor],
                adapt: Iterable[str]) -> dict[str, str]:
    """Bring what ``adapt`` names to a module, in place; return what."""
    own, found = module.state_dict().get(PROJECTION), state.get(PROJECTION)
    if own is None or found is None or own.ndim != 4 or found.ndim != 4:
        return {}
    value, how = found, []
    if 'in_channels' in adapt and own.shape[1] != found.shape[1]:
        value = adapt_channels(value, own.shape[1])
        how.append(f'channels {found.shape[1]} -> {own.shape[1]}')
    if 'patch_size' in adapt and own.shape[2:] != found.shape[2:]:
        value = resize_patches(value, (own.shape[2], own.shape[3]))
        how.append('patches {} x {} -> {} x {}'.format(
            *found.shape[2:], *own.shape[2:]))
    state[PROJECTION] = value
    return {PROJECTION: ', '.join(how)} if how else {}


def adapt_channels(weight: Tensor, number: int) -> Tensor:
    """Sum (D, C, p, q) to one channel, or repeat it to more, as timm does."""
    channels = weight.shape[1]
    if number == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, ceil(number / channels), 1, 1)[:, :number]
    return repeated * (channels / number)


def resize_patches(weight: Tensor, size: Grid) -> Tensor:
    """Resize (D, C, p, q) to other patches, by the pseudo-inverse.

    Source: FlexiViT (https://arxiv.org/abs/2212.08013), section 3.4: of
    patches x that are resized bilinearly to B x, the new weights
    (B^T)^+ w give the products that w gave of x; exactly, if they grow.
    """
    h, w = weight.shape[2:]
    pixels = torch.eye(h * w, dtype=torch.float64).reshape(-1, 1, h, w)
    transposed = F.interpolate(pixels, size, mode='bilinear').flatten(1)
    inverse = torch.linalg.pinv(transposed)  # (p' q', p q)
    resized = weight.flatten(2).double() @ inverse.T
    return resized.unflatten(2, size).to(weight.dtype)


# ---- how the grid is known


def _candidates(state: dict[str, Tensor],
                meta: dict[str, Any]) -> Iterator[Grid]:
    """Yield the grids that a file names, the surest first."""
    embedding = state.get(POS_EMBED)
    if embedding is not None and embedding.ndim == 4:  # ViTDet's
        yield embedding.shape[1], embedding.shape[2]
    yield from _of_index(state)
    yield from _of_waves(state)
    yield from _stated(meta, state)


def _of_index(state: dict[str, Tensor]) -> Iterator[Grid]:
    """Yield the grid whose offsets an index of BEiT (1 + L, 1 + L) lists."""
    for key, index in state.items():
        if INDEX.match(key):
            for h, w in _shapes(len(index) - 1):
                rows, columns = torch.meshgrid(
                    torch.arange(h), torch.arange(w), indexing='ij')
                offsets = (h - 1 - rows) * (2 * w - 1) + w - 1 - columns
                if torch.equal(index[1, 1:].cpu(), offsets.flatten()):
                    yield h, w
            return


def _of_waves(state: dict[str, Tensor]) -> Iterator[Grid]:
    """Yield the grid whose fixed embedding, MAE's, a state holds."""
    value = state.get(POS_EMBED)
    if value is None or value.ndim != 3 or value.shape[2] % 4:
        return
    for num_extra in (1, 0):
        own = value[:, num_extra:].float()
        for h, w in _shapes(own.shape[1]):
            # listed column by column: transposed, row by row
            waves = build_2d_sincos_position_embedding((w, h), own.shape[2])
            if torch.allclose(own, waves, atol=2e-3):  # of half precision too
                yield h, w


def _stated(meta: dict[str, Any],
            state: dict[str, Tensor]) -> Iterator[Grid]:
    """Yield what stands beside the tensors, and what a config implies."""
    backbone = part(meta, 'cfg', 'model', 'backbone')
    patches = state[PROJECTION].shape[2:] if PROJECTION in state else None
    sizes = [(meta.get('image_size'),
              meta.get('patch_size', patches and list(patches)))]
    if backbone:  # mmpretrain's defaults
        sizes.append((backbone.get('img_size', 224),
                      backbone.get('patch_size', 16)))
    if grid := _pair(meta.get('grid')):
        yield grid
    for size, patch in sizes:
        sides, steps = _pair(size), _pair(patch)
        if sides and steps:
            (h, w), (p, q) = sides, steps
            yield -(-h // p), -(-w // q)  # padded at the edge, or not
            yield h // p, w // q


def _pair(value: Any) -> Grid | None:
    """Return (h, w) of a pair, of one number for both, or of ``'4x16'``."""
    if isinstance(value, str):
        value = [int(n) for n in value.split('x') if n.isdecimal()]
        value = value * 2 if len(value) == 1 else value
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    is_grid = len(pair) == 2 and all(
        isinstance(n, int) and n > 0 for n in pair)
    return (pair[0], pair[1]) if is_grid else None


def _fits(state: dict[str, Tensor], grid: Grid | None) -> bool:
    """Tell whether a state has as many positions as a grid."""
    if grid is None:
        return False
    h, w = grid
    value = state.get(POS_EMBED)
    if value is not None:
        num = value.shape[1] if value.ndim == 3 else value[0, ..., 0].numel()
        return num - h * w in (0, 1, 2)  # class and distillation token
    rows = (2 * h - 1) * (2 * w - 1) + NUM_CLS_OFFSETS
    return any(TABLE.match(key) and len(state[key]) == rows for key in state)


def _shapes(num: int) -> Iterator[Grid]:
    """Yield the grids of so many tokens."""
    yield from ((h, num // h) for h in range(1, num + 1) if num % h == 0)


def _describe(state: dict[str, Tensor], grid: Grid | None = None) -> str:
    if grid:
        return f'a grid of {grid[0]} x {grid[1]}'
    value = state.get(POS_EMBED)
    return f'positions of shape {tuple(value.shape)}' if value is not None \
        else 'relative positions'
