"""Masked image modelling of other libraries, as their documentation has it.

Each function returns a loss of images (B, 3, 224, 224) around a ViT-B/16, or
around a toy. Those whose library is not installed are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from amt_mm.engine.cost import count_macs

SIDE = 16


@dataclass(frozen=True)
class PeerWorkload:
    """A peer's model, for a step beside those of a ``Workload``.

    Attributes:
        make (Callable): Builds the model, or a toy of it.
        tiny (bool): Whether it is the toy.
    """

    make: Callable[[bool], nn.Module]
    tiny: bool

    def build(self, device: torch.device | str) -> nn.Module:
        """Build the model for training."""
        return self.make(self.tiny).to(device).train()

    def loss_function(self, model: nn.Module, batch_size: int,
                      device: torch.device | str) -> Callable[[], Tensor]:
        """Return the loss of one batch of noise."""
        images = torch.randn(batch_size, 3, 224, 224, device=device)

        def loss() -> Tensor:
            found = model(images)
            return found if isinstance(found, Tensor) else found.loss

        return loss

    def macs(self) -> int:
        """Count the multiply-accumulates of a step, for one image."""
        loss = self.loss_function(self.build('cpu'), 1, 'cpu')
        return count_macs(lambda: loss().backward())[0]


class LightlyMAE(nn.Module):
    """MAE put together from the parts that lightly offers for it.

    The example of its documentation has a decoder of one layer; here it has
    the eight that its class has by default, as all others have.

    Args:
        vit (nn.Module): The encoder, of timm.
        decoder (dict): Arguments of the decoder.
    """

    def __init__(self, vit: Any, **decoder: Any) -> None:
        super().__init__()
        from lightly.models import modules, utils

        self.utils = utils
        self.encoder = modules.MaskedVisionTransformerTIMM(vit=vit)
        self.decoder = modules.MAEDecoderTIMM(
            num_patches=vit.patch_embed.num_patches, patch_size=SIDE,
            embed_dim=vit.embed_dim, **decoder)

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of a batch."""
        size = len(images), self.encoder.sequence_length
        ids_keep, ids_mask = self.utils.random_token_mask(
            size, mask_ratio=0.75, device=images.device)
        latent = self.encoder.encode(images=images, idx_keep=ids_keep)
        tokens = self.utils.set_at_index(
            self.utils.repeat_token(self.decoder.mask_token, size), ids_keep,
            self.decoder.embed(latent))
        found = self.decoder.predict(self.utils.get_at_index(
            self.decoder.decode(tokens), ids_mask))
        # the first token is the class token
        return F.mse_loss(found, self.utils.get_at_index(
            self.utils.patchify(images, SIDE), ids_mask - 1))


def timm_vit(tiny: bool) -> Any:
    """Build timm's ViT-B/16 with random weights, or a toy."""
    import timm

    sizes: dict[str, Any] = dict(
        embed_dim=32, depth=2, num_heads=2) if tiny else {}
    return timm.create_model('vit_base_patch16_224', num_classes=0, **sizes)


def transformers_mae(tiny: bool) -> nn.Module:
    """Build ViTMAEForPreTraining of transformers."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, decoder_hidden_size=16,
        decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=32) if tiny else {}
    return ViTMAEForPreTraining(ViTMAEConfig(norm_pix_loss=True, **sizes))


def lightly_mae(tiny: bool) -> nn.Module:
    """Build MAE of lightly around a ViT of timm."""
    sizes = dict(decoder_embed_dim=32, decoder_depth=1) if tiny else {}
    return LightlyMAE(timm_vit(tiny), **sizes)


def stable_pretraining_mae(tiny: bool) -> nn.Module:
    """Build MAE of stable-pretraining."""
    from stable_pretraining.methods.mae import MAE

    sizes = dict(decoder_embed_dim=32, decoder_depth=1) if tiny else {}
    return MAE(timm_vit(tiny), **sizes)


def stable_pretraining_cross_mae(tiny: bool) -> nn.Module:
    """Build CrossMAE of stable-pretraining, half of the masked predicted.

    The width and the heads of its decoder are those of MAE's, its 12 layers
    its own.
    """
    from stable_pretraining.methods.cross_mae import CrossMAE

    return CrossMAE(
        timm_vit(tiny), decoder_embed_dim=512, decoder_num_heads=16,
        decoder_depth=1 if tiny else 12, kept_mask_ratio=0.375)


def stable_pretraining_simmim(tiny: bool) -> nn.Module:
    """Build SimMIM of stable-pretraining."""
    from stable_pretraining.methods.simmim import SimMIM

    return SimMIM(timm_vit(tiny))


def stable_pretraining_maskfeat(tiny: bool) -> nn.Module:
    """Build MaskFeat of stable-pretraining."""
    from stable_pretraining.methods.maskfeat import MaskFeat

    return MaskFeat('vit_tiny_patch16_224' if tiny else
                    'vit_base_patch16_224')


def peers(*makers: Callable[[bool], nn.Module],
          tiny: bool) -> dict[str, PeerWorkload]:
    """Return the workloads of those whose library is installed, by name."""
    libraries = 'transformers', 'lightly', 'stable_pretraining'
    there = tuple(name for name in libraries if find_spec(name))
    return {make.__name__: PeerWorkload(make, tiny)
            for make in makers if make.__name__.startswith(there)}
