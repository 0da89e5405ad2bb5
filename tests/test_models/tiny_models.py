"""Models, batches and plans of the size of a test."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from amt_mm.masking import MASKED, THROWN, VISIBLE, MaskPlan, TokenCounts

SIDE = 8  # of a patch, in pixels
COUNTS = TokenCounts(7, 5, 4)
ARCH = dict(
    embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
LOSS = 'mmpretrain.PixelReconstructionLoss'


def mae_config(size: int | tuple[int, int] = 32, ours: bool = True,
               norm_pix: bool = True, **backbone: Any) -> dict:
    """Describe a MAE of ours or of mmpretrain."""
    h, w = grid_of(size)
    scope, name = ('amt_mm', 'AMTMAE') if ours else ('mmpretrain', 'MAE')
    return dict(
        type=f'{scope}.{name}',
        backbone=dict(type=f'{scope}.{name}ViT', arch=ARCH, img_size=size,
                      patch_size=SIDE, mask_ratio=0.75, **backbone),
        neck=dict(
            type=f'{scope}.{name}PretrainDecoder',
            num_patches=(h, w) if ours else h * w,
            patch_size=SIDE, embed_dim=32, decoder_embed_dim=16,
            decoder_depth=2, decoder_num_heads=2),
        head=dict(
            type=f'{scope}.{name}PretrainHead', norm_pix=norm_pix,
            patch_size=SIDE, loss=dict(type=LOSS, criterion='L2')))


def cross_config(size: int | tuple[int, int] = 32,
                 inter_block: bool = False,
                 **neck: Any) -> dict:
    """Describe a MAE of ours with the decoder of cross-attention."""
    config = mae_config(size)
    config['neck'].update(type='amt_mm.AMTCrossDecoder',
                          inter_block=inter_block, **neck)
    return config


def inter_config(size: int | tuple[int, int] = 32) -> dict:
    """Describe one whose decoder reads all blocks of the encoder."""
    return cross_config(size, True)


def simmim_config(size: int | tuple[int, int] = 32,
                  vit: str = 'AMTSimMIMViT', **backbone: Any) -> dict:
    """Describe a SimMIM of ours."""
    return dict(
        type='amt_mm.AMTSimMIM',
        backbone=dict(type=f'amt_mm.{vit}', arch=ARCH, img_size=size,
                      patch_size=SIDE, **backbone),
        neck=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=32,
                  encoder_stride=SIDE),
        head=dict(type='amt_mm.AMTSimMIMHead', patch_size=SIDE,
                  loss=dict(type=LOSS, criterion='L1', channel=3)))


def beit_config(size: int | tuple[int, int] = 32, **backbone: Any) -> dict:
    """Describe a SimMIM of ours with relative positions."""
    return simmim_config(size, 'AMTBEiTPretrainViT', **backbone)


def maskfeat_config(size: int | tuple[int, int] = 32, ours: bool = True,
                    **backbone: Any) -> dict:
    """Describe a MaskFeat of ours or of mmpretrain."""
    scope, prefix = ('amt_mm', 'AMT') if ours else ('mmpretrain', '')
    window = dict(nbins=9, pool=4, gaussian_window=8)
    return dict(
        type=f'{scope}.{prefix}MaskFeat',
        backbone=dict(type=f'{scope}.{prefix}MaskFeatViT', arch=ARCH,
                      img_size=size, patch_size=SIDE, **backbone),
        neck=dict(type='mmpretrain.LinearNeck', in_channels=32,
                  out_channels=27 * (SIDE // 4)**2, norm_cfg=None),
        head=dict(type='mmpretrain.MIMHead',
                  loss=dict(type=LOSS, criterion='L2')),
        target_generator=dict(
            type=f'{scope}.{prefix}HOGGenerator', **window,
            **(dict(patch_size=SIDE) if ours else {})))


def build(config: dict) -> nn.Module:
    """Build a model of weights that are all off their start."""
    torch.manual_seed(0)
    return scatter(MODELS.build(config))


def grid_of(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return the grid of patches of an image."""
    h, w = (size, size) if isinstance(size, int) else size
    return h // SIDE, w // SIDE


def scatter(model: nn.Module) -> nn.Module:
    """Move all parameters, position embeddings too, off their start."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def make_samples(counts: TokenCounts,
                 grid: tuple[int, int] = (4, 4),
                 batch: int = 3) -> list[DataSample]:
    """Return samples with random plans of the counts."""
    rng = np.random.default_rng(0)
    roles = np.repeat(np.array([MASKED, THROWN, VISIBLE], np.int8), counts)
    samples = [DataSample() for _ in range(batch)]
    for sample in samples:
        sample.set_field(rng.permutation(roles).reshape(grid), 'mask_plan')
    return samples


def make_images(height: int = 32, width: int = 32, batch: int = 3) -> Tensor:
    """Return noise (B, 3, H, W)."""
    return torch.randn(batch, 3, height, width,
                       generator=torch.Generator().manual_seed(0))


def gradients_of(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Return the gradients of all parameters that have one, by name."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()
            if p.grad is not None}


def perturbed(images: Tensor, plan: MaskPlan, role: str) -> Tensor:
    """Replace the pixels of all tokens of a role, none of another's."""
    everything = torch.arange(plan.num_tokens).expand(len(images), -1)
    known = torch.cat([plan.ids_visible, plan.ids_masked], 1)
    ids = dict(
        visible=plan.ids_visible,
        masked=plan.ids_masked,
        thrown=torch.stack([
            row[~torch.isin(row, kept)]
            for row, kept in zip(everything, known, strict=True)]))[role]
    assert ids.shape[1] == getattr(COUNTS, role)
    noise = 100 * torch.randn_like(plan.patches(images, ids))
    changed = plan.paste(images, ids, noise)
    assert (changed != images).any()
    return changed


def assert_same_step(ours: tuple[nn.Module, Tensor],
                     theirs: tuple[nn.Module, Tensor]) -> str:
    """Compare two losses and their gradients; return the figures."""
    (model, loss), (other, expected) = ours, theirs
    assert expected > 0.1
    assert abs(loss - expected) < 1e-5
    found, wanted = gradients_of(model, loss), gradients_of(other, expected)
    assert found.keys() == wanted.keys()
    errors = {name: (gradient - wanted[name]).abs().max().item()
              for name, gradient in found.items()}
    largest = max(gradient.abs().max() for gradient in wanted.values())
    assert largest > 1e-2 and max(errors.values()) < 1e-5, errors
    return (f'loss {expected:.4f}, off by {abs(loss - expected):.1e}; '
            f'{len(errors)} gradients up to {largest:.3f}, off by '
            f'{max(errors.values()):.1e}')
