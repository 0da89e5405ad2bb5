"""A file of ONNX, written once it gives what the encoder gives.

Shape letters: B batch, C channels, L patch tokens, D width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from amt_mm.atomic_write import replacing

from .describe import Checkpoint, PlainViT

TOLERANCE = 1e-4  # of the largest difference of a feature
EXPORT_BATCH, CHECKED_BATCHES = 2, (1, 3)


class Features(nn.Module):
    """The features of images, and of their patches unless averaged."""

    def __init__(self, encoder: VisionTransformer, averages: bool) -> None:
        super().__init__()
        self.encoder, self.averages = encoder, averages

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return (B, D) and, unless averaged, (B, L, D)."""
        tokens = self.encoder(images)[0]
        return (tokens, ) if self.averages else (tokens[:, 0], tokens[:, 1:])


def to_onnx(checkpoint: Checkpoint, out: Path) -> str:
    """Write a graph that takes any number of images, of the size of training.

    Raises ValueError if onnxruntime computes something else than torch.
    """
    if out.suffix != '.onnx':
        raise ValueError(f'--out must end in .onnx for this target, got '
                         f'{out.name}.')
    vit = checkpoint.vit
    encoder = build_vit(vit)
    encoder.load_state_dict(checkpoint.encoder)
    module = Features(encoder, vit.averages).eval()
    shape = vit.in_channels, *vit.image_size
    try:
        content = graph_of(module, shape)
        differences = [largest_difference(content, module, (batch, *shape))
                       for batch in CHECKED_BATCHES]
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: --to onnx needs the extra '
                         "`onnx`, pip install 'amt_mm[onnx]'.") from error
    if not max(differences) <= TOLERANCE:
        raise ValueError(
            'onnxruntime must give the features of torch, within '
            f'{TOLERANCE}, got differences of {max(differences):.2g}.')
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        file.write(content)
    mean, std = checkpoint.normalization.scaled()
    return (f'session = onnxruntime.InferenceSession({str(out)!r})\n'
            "features = session.run(None, {'images': images})[0]\n"
            f'# images float32 (B, {", ".join(map(str, shape))}), '
            f'{checkpoint.normalization.channels} of 0 to 1, less {mean}, '
            f'over {std}; within {max(differences):.1g} of torch')


def build_vit(vit: PlainViT) -> VisionTransformer:
    """Build mmpretrain's ViT of some sizes, with new weights."""
    return VisionTransformer(
        arch=dict(
            embed_dims=vit.width, num_layers=vit.depth,
            num_heads=vit.num_heads, feedforward_channels=vit.hidden_width),
        img_size=vit.image_size,
        patch_size=vit.patch_size,
        in_channels=vit.in_channels,
        qkv_bias=vit.qkv_bias,
        norm_cfg=dict(type='LN', eps=vit.eps),
        final_norm=not vit.averages,
        out_type='avg_featmap' if vit.averages else 'raw')


def graph_of(module: Features, shape: tuple[int, ...]) -> bytes:
    """Return the graph of a module of images (C, H, W) of a shape."""
    import onnx  # noqa: F401 (both are needed, and torch says it at length)
    import onnxscript  # noqa: F401
    program = torch.onnx.export(
        module, (torch.zeros(EXPORT_BATCH, *shape), ), dynamo=True,
        input_names=['images'],
        output_names=['features', 'patches'][:1 if module.averages else 2],
        dynamic_shapes=dict(images={0: torch.export.Dim('batch')}),
        verbose=False)
    assert program is not None
    return program.model_proto.SerializeToString()


@torch.no_grad()
def largest_difference(content: bytes, module: Features,
                       shape: tuple[int, ...]) -> float:
    """Return the largest difference of torch and onnxruntime on noise."""
    import onnxruntime
    session = onnxruntime.InferenceSession(
        content, providers=['CPUExecutionProvider'])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = session.run(None, {'images': images.numpy()})
    return max(float(np.abs(theirs - ours.numpy()).max()) for theirs, ours in
               zip(found, module(images), strict=True))
