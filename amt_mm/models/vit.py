"""Vision transformers that read a plan.

Shape letters: B batch, L tokens, V visible, M masked, K kept (1 + V + M, the
class token first), D width, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from amt_mm.masking.plan import MaskPlan


class VisiblePatchViT(BaseBackbone):
    """A ViT that embeds only the visible patches of a plan.

    To be named before one of mmpretrain's vision transformers among the bases
    of a class. Any grid is allowed, square or not.

    Args:
        **kwargs: Those of the vision transformer.

    Raises:
        ValueError: If it has no class token or no final norm, its patches are
            not squares side by side, or its own initialisation would
            overwrite the weights that ``init_cfg`` loads.
    """

    def __init__(self, **kwargs: Any) -> None:
        check_init_cfg(kwargs.get('init_cfg'))
        super().__init__(**kwargs)
        if not self.final_norm:
            raise ValueError('final_norm must be True, got False: the decoder '
                             'reads the normalised latent.')
        if self.cls_token is None:
            raise ValueError('with_cls_token must be True, got False: the '
                             'saliency is the attention of the class token.')
        for module in self.modules():
            if isinstance(module, DropPath):
                # a numpy number would break a compiled graph
                module.drop_prob = float(module.drop_prob)
        proj = self.patch_embed.projection
        if proj.kernel_size != proj.stride or len({*proj.stride}) > 1:
            raise ValueError(
                'patch_cfg must keep the patches square and side by side, got '
                f'kernel_size {proj.kernel_size} and stride {proj.stride}; '
                'both are patch_size unless set.')
        if any(proj.padding) or {*proj.dilation} != {1}:
            raise ValueError('patch_cfg must have padding 0 and dilation 1, '
                             f'got {proj.padding} and {proj.dilation}.')

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.patch_embed.projection.stride[0]

    def embed_visible(self, images: Tensor, plan: MaskPlan) -> Tensor:
        """Embed the visible patches alone (B, V, D)."""
        size = tuple(n * self.patch_size for n in plan.grid)
        if images.shape[2:] != size:
            raise ValueError(
                f'inputs of patch_size {self.patch_size} must fit the plan '
                f'{plan.grid}, got shape {tuple(images.shape)}: check the '
                'scale of the crop, and input_size and patch_size of '
                'AMTMaskGenerator.')
        proj = self.patch_embed.projection
        pixels = plan.patches(images, plan.ids_visible).flatten(2)
        x = F.linear(pixels, proj.weight.flatten(1), proj.bias)
        return self.patch_embed.norm(x) if self.patch_embed.norm else x

    def positions(self, plan: MaskPlan) -> Tensor:
        """Return the position embedding (1, 1 + L, D) on the plan's grid."""
        return resize_pos_embed(self.pos_embed, self.patch_resolution,
                                plan.grid, self.interpolate_mode)


class KeptTokensViT(VisiblePatchViT):
    """A ViT over visible and mask tokens; thrown ones never enter a block.

    Blocks are equivariant to the order of the tokens once their positions are
    added, so mask tokens are appended and nothing is shuffled back. To be
    named before a vision transformer that has a ``mask_token``.

    Args:
        **kwargs: Those of the vision transformer.
    """

    # what its forward takes behind the images, for whole ones
    no_mask: tuple[None, ...] = (None, )

    def forward(self, x: Tensor, plan: MaskPlan | None = None) -> Any:
        """Encode images (B, C, H, W).

        Returns:
            Tensor | tuple[Tensor]: With a plan, the latent (B, 1 + V + M, D),
            class token first, masked last; else the outputs of the vision
            transformer.
        """
        if plan is None:
            return super().forward(x, *self.no_mask)
        x, shared = self.embed_kept(x, plan), self.shared_by_layers(plan)
        for layer in self.layers:
            x = layer(x, *shared)
        return self.norm1(x)

    def shared_by_layers(self, plan: MaskPlan) -> tuple[Tensor | None, ...]:
        """Return what every layer takes behind the tokens."""
        return ()

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


def loads_weights(init_cfg: Any) -> bool:
    """Whether an ``init_cfg`` loads a file, so that nothing is drawn after."""
    return isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'


def check_init_cfg(init_cfg: Any) -> None:
    """Raise ValueError if a list loads a file: mmpretrain draws over it."""
    if isinstance(init_cfg, (list, tuple)) and any(
            map(loads_weights, init_cfg)):
        raise ValueError('init_cfg must be one dict if it loads weights, got '
                         f'{init_cfg!r}: positions would be drawn over them.')
