"""Files for timm, mmpretrain and others, either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import nextafter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..layouts import PREFIX, TIMM, TIMM_BLOCK, rename
from .describe import Checkpoint, PlainViT

# width, depth, heads and hidden width of those timm has a name for
TIMM_MODELS = {
    (192, 12, 3, 768, 16): 'vit_tiny_patch16_224',
    (384, 12, 6, 1536, 16): 'vit_small_patch16_224',
    (768, 12, 12, 3072, 16): 'vit_base_patch16_224',
    (1024, 24, 16, 4096, 16): 'vit_large_patch16_224',
    (1280, 32, 16, 5120, 14): 'vit_huge_patch14_224',
}


# ---- one function a target: each returns how to load what it wrote


def to_timm(checkpoint: Checkpoint, out: Path) -> str:
    """Write the keys of timm's VisionTransformer, as safetensors."""
    vit = checkpoint.vit
    write_tensors({rename(key, TIMM, TIMM_BLOCK, 'blocks'): value
                   for key, value in checkpoint.encoder.items()}, out,
                  dict(grid='x'.join(map(str, checkpoint.grid or ()))))
    return (f'model = {timm_model(vit)}\nmodel.load_state_dict('
            f'safetensors.torch.load_file({str(out)!r}))')


def timm_model(vit: PlainViT) -> str:
    """Return the Python that builds the model."""
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
    name = TIMM_MODELS.get((vit.width, vit.depth, vit.num_heads,
                            vit.hidden_width, vit.patch_size))
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


def to_mmpretrain(checkpoint: Checkpoint, out: Path) -> str:
    """Write the encoder as mmpretrain, mmdet and mmseg load one.

    Any backbone may be written, with relative positions too.
    """
    check_suffix(out, is_safetensors=False)
    state = {PREFIX + key: value.detach().clone()
             for key, value in checkpoint.encoder.items()}
    meta = dict(grid=list(checkpoint.grid)) if checkpoint.grid else {}
    with staging(out) as folder:
        torch.save(dict(meta=meta, state_dict=state), folder / 'part')
        os.replace(folder / 'part', out)
    return (f"init_cfg=dict(type='Pretrained', checkpoint={str(out)!r}, "
            f"prefix='{PREFIX}')")


def to_safetensors(checkpoint: Checkpoint, out: Path) -> str:
    """Write the encoder's own keys, with what it is beside it."""
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
    write_tensors({PREFIX + k: v for k, v in checkpoint.encoder.items()},
                  out, {key: str(value) for key, value in facts.items()})
    return f'safetensors.torch.load_file({str(out)!r})'


# ---- writing


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that is gone afterwards."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_tensors(state: dict[str, Tensor], path: Path,
                 metadata: dict[str, str] | None = None) -> None:
    """Write tensors, each with memory of its own, as safetensors."""
    own = {key: value.detach().clone(memory_format=torch.contiguous_format)
           for key, value in state.items()}
    # libraries of Hugging Face refuse a file without a format
    save_file(own, path, {'format': 'pt', **(metadata or {})})


def write_tensors(state: dict[str, Tensor], out: Path,
                  metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file in one step."""
    check_suffix(out, is_safetensors=True)
    with staging(out) as folder:
        save_tensors(state, folder / 'part', metadata)
        os.replace(folder / 'part', out)


def check_suffix(out: Path, is_safetensors: bool) -> None:
    """Raise ValueError if a name belies the format, which readers go by."""
    if (out.suffix == '.safetensors') != is_safetensors:
        raise ValueError(f'--out must {"" if is_safetensors else "not "}end '
                         f'in .safetensors for this target, got {out.name}.')


def refuse_to_overwrite(out: Path, source: str, force: bool) -> None:
    """Raise ValueError if writing would destroy something unasked.

    Raises:
        ValueError: If ``out`` is the checkpoint itself, or exists (a folder:
            and is not empty) and ``force`` is not given.
    """
    if not out.exists():
        return
    if Path(source).exists() and out.samefile(source):
        raise ValueError(f'--out is the checkpoint itself: {out}.')
    if out.is_dir() and not any(out.iterdir()):
        return
    if not force:
        raise ValueError(f'{out} exists' + (
            ' and is not empty' if out.is_dir() else '') +
            ': choose another --out, or --force to overwrite.')
