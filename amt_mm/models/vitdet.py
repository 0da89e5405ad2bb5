"""The parts of ViTDet: the plain ViT as a backbone, and its pyramid.

Shape letters: B batch (of images or windows), (h, w) grid of tokens,
L = h * w tokens, H heads, D width, d width of a head, C channels.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmpretrain.models import VisionTransformer, ViTSAM
from mmpretrain.models.backbones.vit_sam import (
    Attention,
    TransformerEncoderLayer,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor, nn

from amt_mm.arguments import check_int
from amt_mm.registry import MODELS

NUM_GLOBAL = 4
NUM_LEVELS = 4
LAYER_NORM = dict(type='mmpretrain.LN2d', eps=1e-6)


def global_blocks(depth: int) -> list[int]:
    """Return the last block of each of four equal parts of the encoder."""
    return sorted({-(-i * depth // NUM_GLOBAL) - 1
                   for i in range(1, NUM_GLOBAL + 1)})


def one_hot_positions(h: int, w: int, like: Tensor) -> Tensor:
    """Return the row and the column of each token, one-hot: (L, h + w)."""
    rows = torch.eye(h, dtype=like.dtype, device=like.device)
    columns = torch.eye(w, dtype=like.dtype, device=like.device)
    return torch.cat([rows.repeat_interleave(w, 0), columns.repeat(h, 1)], 1)


class RelPosAttention(Attention):
    """ViTSAM's attention without its (L, L) matrices.

    The bias of a query and a key is a sum of one term for the key's row and
    one for its column. So it is a scalar product too: of these terms, put
    behind the query, with the key's row and column, one-hot, put behind the
    key. Attention over the longer vectors is equal, and can be fused.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each grid of tokens (B, h, w, D)."""
        _, h, w, _ = x.shape
        q, k, v = self.qkv(x).flatten(1, 2).unflatten(
            -1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        width = v.shape[-1]
        if self.use_rel_pos:
            q, k, v = self._extend(q, k, v, (h, w))
        # q is scaled before its bias terms are put behind it
        out = F.scaled_dot_product_attention(
            q, k, v, scale=1. if self.use_rel_pos else self.scale)
        out = out[..., :width].transpose(1, 2).flatten(2)
        return self.proj(out).unflatten(1, (h, w))

    def _extend(self, q: Tensor, k: Tensor, v: Tensor,
                grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Put the terms of the bias behind q and k, (B, H, L, d + h + w)."""
        h, w = grid
        grid_q = q.unflatten(2, grid)
        rows = torch.einsum('bnhwd,hkd->bnhwk', grid_q,
                            get_rel_pos(h, h, self.rel_pos_h))
        columns = torch.einsum('bnhwd,wkd->bnhwk', grid_q,
                               get_rel_pos(w, w, self.rel_pos_w))
        bias = torch.cat([rows, columns], -1).flatten(2, 3)
        places = one_hot_positions(h, w, k).expand(*k.shape[:2], -1, -1)
        # fused kernels want values as wide as keys
        return (torch.cat([q * self.scale, bias.to(q.dtype)], -1),
                torch.cat([k, places], -1), F.pad(v, (0, h + w)))


class ViTDetBlock(TransformerEncoderLayer):
    """ViTSAM's block with stochastic depth on its attention too."""

    def forward(self, x: Tensor) -> Tensor:
        """Transform the tokens (B, h, w, D)."""
        shortcut, grid = x, x.shape[1:3]
        x = self.ln1(x)
        if self.window_size > 0:
            x, padded = window_partition(x, self.window_size)
        x = self.attn(x)
        if self.window_size > 0:
            x = window_unpartition(x, self.window_size, padded, grid)
        x = shortcut + self.ffn.dropout_layer(x)
        return self.ffn(self.ln2(x), identity=x)


@MODELS.register_module()
class ViTDet(ViTSAM):
    """Plain ViT with windowed and a few global blocks, for detectors.

    One map (B, D, H / patch_size, W / patch_size) comes out, for images of
    any size. It loads the checkpoint of a plain ViT, whose keys it shares: the
    position embedding loses its class token and is interpolated to the grid;
    only ``rel_pos_*``, zero at first, are new. When windows cover the image,
    it computes what the plain ViT without class token computes.

    Source: `Exploring Plain Vision Transformer Backbones for Object Detection
    <https://arxiv.org/abs/2203.16527>`_, on top of mmpretrain's ``ViTSAM``.

    Args:
        arch (str | dict): An architecture of
            :class:`mmpretrain.models.VisionTransformer`. A dict may name the
            blocks of global attention, ``global_attn_indexes``, which are else
            the last of each fourth of the encoder. Defaults to 'base'.
        img_size (int | tuple[int]): Most common input size, (height, width).
            Defaults to 1024.
        out_channels (int): Channels of SAM's neck; 0 for none.
            Defaults to 0.
        **kwargs: Those of :class:`mmpretrain.models.ViTSAM`, such as
            ``window_size=14`` and ``drop_path_rate=0.``.

    Raises:
        ValueError: If the grid of a checkpoint's position embedding does not
            follow from its number of tokens.
    """

    arch_zoo = {
        name: dict(
            settings,
            global_attn_indexes=global_blocks(settings['num_layers']))
        for name, settings in VisionTransformer.arch_zoo.items()
    }

    def __init__(self,
                 arch: str | dict[str, Any] = 'base',
                 img_size: int | tuple[int, int] = 1024,
                 out_channels: int = 0,
                 **kwargs: Any) -> None:
        if isinstance(arch, dict) and 'num_layers' in arch:
            default = global_blocks(arch['num_layers'])
            arch = dict(dict(global_attn_indexes=default), **arch)
        super().__init__(arch, img_size, out_channels=out_channels, **kwargs)
        for layer in self.layers:
            # ViTSAM takes no other class; the state is the same
            layer.__class__ = ViTDetBlock
            layer.attn.__class__ = RelPosAttention

    def _prepare_pos_embed(self, state_dict: dict[str, Tensor], prefix: str,
                           *args: Any, **kwargs: Any) -> None:
        """Bring a plain ViT's position embedding to (1, h, w, D)."""
        name = f'{prefix}pos_embed'
        if name in state_dict and state_dict[name].ndim == 3:
            # what was filtered on the way here may lack the class token
            extra = (1, ) if f'{prefix}cls_token' in state_dict else (0, 1)
            h, w = self._grid_of(state_dict[name].shape[1], extra)
            tokens = state_dict[name][:, -h * w:]
            state_dict[name] = tokens.unflatten(1, (h, w))
        super()._prepare_pos_embed(state_dict, prefix, *args, **kwargs)

    def _grid_of(self, num_tokens: int,
                 extra: tuple[int, ...]) -> tuple[int, int]:
        """Return the grid of a position embedding, class token or not."""
        for num_extra in extra:
            num_patches = num_tokens - num_extra
            side = isqrt(num_patches)
            for h, w in (self.patch_resolution, (side, side)):
                if num_patches == h * w:
                    return h, w
        raise ValueError(
            f'pos_embed of {num_tokens} tokens is neither that of a square '
            f'grid nor of the grid {tuple(self.patch_resolution)}; set '
            'img_size to that of the checkpoint.')


@MODELS.register_module()
class SimpleFPN(BaseModule):
    """The feature pyramid of ViTDet: every level comes from the last map.

    A map of stride 16 becomes maps of stride 4, 8, 16 and 32 by two
    deconvolutions, one, none, and max pooling; each is brought to
    ``out_channels`` by a 1x1 and a 3x3 convolution with their norms. Further
    levels are the last one subsampled, as in mmdet's ``FPN``.

    Source: `Exploring Plain Vision Transformer Backbones for Object Detection
    <https://arxiv.org/abs/2203.16527>`_, section 3.

    Args:
        in_channels (int): Channels of the map; a multiple of 4.
        out_channels (int): Channels of every level. Defaults to 256.
        num_outs (int): Number of levels, at least 4. Defaults to 5.
        norm_cfg (dict): Norm of maps (B, C, H, W).
            Defaults to ``dict(type='mmpretrain.LN2d', eps=1e-6)``.
        init_cfg (dict, optional): Initialization config dict.
            Defaults to None.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = NUM_LEVELS + 1,
        norm_cfg: dict[str, Any] = LAYER_NORM,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if in_channels % 4:
            raise ValueError('in_channels must be a multiple of 4, got '
                             f'{in_channels}.')
        self.num_outs = check_int('num_outs', num_outs, NUM_LEVELS)
        self.norm_cfg = norm_cfg
        half, quarter = in_channels // 2, in_channels // 4
        self.rescales = nn.ModuleList([
            nn.Sequential(
                ConvModule(
                    in_channels, half, 2, stride=2,
                    conv_cfg=dict(type='deconv'), bias=True,
                    norm_cfg=norm_cfg, act_cfg=dict(type='GELU')),
                nn.ConvTranspose2d(half, quarter, 2, stride=2)),
            nn.ConvTranspose2d(in_channels, half, 2, stride=2),
            nn.Identity(),
            nn.MaxPool2d(2),
        ])
        self.projections = nn.ModuleList(
            self._projection(width, out_channels)
            for width in (quarter, half, in_channels, in_channels))

    def _projection(self, in_channels: int, out_channels: int) -> nn.Module:
        options = dict(norm_cfg=self.norm_cfg, act_cfg=None)
        return nn.Sequential(
            ConvModule(in_channels, out_channels, 1, **options),
            ConvModule(out_channels, out_channels, 3, padding=1, **options))

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Make the levels of one map (B, C, h, w), in a tuple.

        Returns:
            tuple[Tensor]: ``num_outs`` maps (B, out_channels, s * h, s * w),
            s = 4, 2, 1, 1/2, 1/4, ...
        """
        if len(inputs) != 1:
            raise ValueError('SimpleFPN takes one feature map, got '
                             f'{len(inputs)}.')
        outs = [
            project(rescale(inputs[0])) for rescale, project in zip(
                self.rescales, self.projections, strict=True)
        ]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)
