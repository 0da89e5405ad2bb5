"""The encoder as timm's VisionTransformer has it."""

from __future__ import annotations

import re
from math import nextafter
from pathlib import Path

from .checkpoint import Checkpoint
from .plain_vit import PlainViT
from .write import write_tensors

RENAMES = {
    'patch_embed.projection.': 'patch_embed.proj.',
    '.ln1.': '.norm1.',
    '.ln2.': '.norm2.',
    '.ffn.layers.0.0.': '.mlp.fc1.',
    '.ffn.layers.1.': '.mlp.fc2.',
}
# width, depth, heads and hidden width of those timm has a name for
NAMES = {
    (192, 12, 3, 768, 16): 'vit_tiny_patch16_224',
    (384, 12, 6, 1536, 16): 'vit_small_patch16_224',
    (768, 12, 12, 3072, 16): 'vit_base_patch16_224',
    (1024, 24, 16, 4096, 16): 'vit_large_patch16_224',
    (1280, 32, 16, 5120, 14): 'vit_huge_patch14_224',
}


def to_timm(checkpoint: Checkpoint, out: Path) -> str:
    """Write timm's keys as safetensors; return how to load them."""
    vit = checkpoint.vit
    write_tensors(
        {timm_key(key): value for key, value in checkpoint.encoder.items()},
        out)
    return (f'model = {timm_model(vit)}\nmodel.load_state_dict('
            f'safetensors.torch.load_file({str(out)!r}))')


def timm_key(key: str) -> str:
    """Rename a key of mmpretrain's VisionTransformer."""
    # the norm of all tokens, or of their average
    key = re.sub(r'^ln1\.', 'norm.', re.sub(r'^ln2\.', 'fc_norm.', key))
    key = re.sub(r'^layers\.', 'blocks.', key)
    for old, new in RENAMES.items():
        key = key.replace(old, new)
    return key


def timm_model(vit: PlainViT) -> str:
    """Return the Python that builds the model."""
    sizes = (vit.width, vit.depth, vit.num_heads, vit.hidden_width,
             vit.patch_size)
    h, w = vit.image_size
    options = ['num_classes=0']
    if (h, w) != (224, 224):
        options.append(f'img_size={h if h == w else (h, w)}')
    if vit.in_channels != 3:
        options.append(f'in_chans={vit.in_channels}')
    if not vit.qkv_bias:
        options.append('qkv_bias=False')
    if vit.averages:
        options.append("global_pool='avg'")
    if vit.eps != 1e-6:
        options.append('norm_layer=functools.partial(torch.nn.LayerNorm, '
                       f'eps={vit.eps})')
    name = NAMES.get(sizes)
    if name:
        return f'timm.create_model({", ".join([repr(name), *options])})'
    ratio = vit.hidden_width / vit.width
    if int(vit.width * ratio) < vit.hidden_width:  # timm rounds down
        ratio = nextafter(ratio, ratio + 1)
    options += [
        f'patch_size={vit.patch_size}', f'embed_dim={vit.width}',
        f'depth={vit.depth}', f'num_heads={vit.num_heads}',
        f'mlp_ratio={ratio!r}'
    ]
    return f'timm.models.VisionTransformer({", ".join(options)})'
