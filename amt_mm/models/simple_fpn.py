"""A feature pyramid from one map.

Shape letters: B batch, C channels, (h, w) token grid.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from amt_mm.arguments import check_int
from amt_mm.registry import MODELS

NUM_LEVELS = 4
LAYER_NORM = dict(type='mmpretrain.LN2d', eps=1e-6)


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
