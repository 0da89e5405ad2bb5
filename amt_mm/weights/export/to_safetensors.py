"""The encoder under its own keys, with what it is beside it."""

from __future__ import annotations

from pathlib import Path

from .checkpoint import BACKBONE, Checkpoint
from .write import write_tensors


def to_safetensors(checkpoint: Checkpoint, out: Path) -> str:
    """Write ``backbone.*`` and the metadata; return how to load them."""
    vit, norm = checkpoint.vit, checkpoint.normalization
    facts = dict(
        arch='mmpretrain.VisionTransformer',
        embed_dims=vit.width,
        num_layers=vit.depth,
        num_heads=vit.num_heads,
        feedforward_channels=vit.hidden_width,
        patch_size=vit.patch_size,
        image_size='x'.join(map(str, vit.image_size)),
        grid='x'.join(map(str, checkpoint.grid or ())),
        in_channels=vit.in_channels,
        qkv_bias=vit.qkv_bias,
        norm_eps=vit.eps,
        out_type='avg_featmap' if vit.averages else 'cls_token',
        mean=list(norm.mean),
        std=list(norm.std),
        channels=norm.channels)
    write_tensors({BACKBONE + k: v for k, v in checkpoint.encoder.items()},
                  out, {key: str(value) for key, value in facts.items()})
    return f'safetensors.torch.load_file({str(out)!r})'
