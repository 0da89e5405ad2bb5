"""Files for timm, transformers and mmpretrain, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import nextafter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from amt_mm.atomic_write import replacing

from ..config_text import part
from ..layouts import HF, HF_BLOCK, PREFIX, TIMM, TIMM_BLOCK, rename
from .describe import (
    EPS,
    Checkpoint,
    PlainViT,
    block_keys,
    check_heads,
    check_keys,
    count_blocks,
    norm_eps,
)
from .onnx_file import to_onnx

# width, depth, heads and hidden width of those timm has a name for
TIMM_MODELS = {
    (192, 12, 3, 768, 16): 'vit_tiny_patch16_224',
    (384, 12, 6, 1536, 16): 'vit_small_patch16_224',
    (768, 12, 12, 3072, 16): 'vit_base_patch16_224',
    (1024, 24, 16, 4096, 16): 'vit_large_patch16_224',
    (1280, 32, 16, 5120, 14): 'vit_huge_patch14_224',
}
# of the decoder, besides its blocks
FRAME = ('mask_token', 'decoder_pos_embed', 'decoder_embed.weight',
         'decoder_embed.bias', 'ln1.weight', 'ln1.bias',
         'decoder_pred.weight', 'decoder_pred.bias')
BICUBIC = 3  # PIL.Image.Resampling
# without noise even a model that masks nothing shuffles its patches
MAE_USAGE = """\
model = transformers.ViTMAEForPreTraining.from_pretrained({folder!r})
# it masks at random, so features differ from call to call; those of whole
# images, patches in their order (or export with --encoder-only):
encoder = transformers.ViTMAEForPreTraining.from_pretrained(
    {folder!r}, mask_ratio=0.).vit.eval()
features = encoder(images, noise=torch.arange({num_patches}.).expand(
    len(images), -1)).last_hidden_state"""


def to_timm(checkpoint: Checkpoint, out: Path) -> str:
    """Write the keys of timm's VisionTransformer, as safetensors.

    A path without an ending is a folder, which timm loads by its name.
    """
    vit = checkpoint.vit
    path = out if out.suffix else out / 'model.safetensors'
    text = '' if out.suffix else json.dumps(timm_config(checkpoint), indent=2)
    save_tensors({rename(key, TIMM, TIMM_BLOCK, 'blocks'): value
                  for key, value in checkpoint.encoder.items()}, path,
                 dict(grid='x'.join(map(str, checkpoint.grid or ()))))
    if text:
        with replacing(out / 'config.json') as file:
            file.write((text + '\n').encode())
        return (f'model = timm.create_model("local-dir:{out.absolute()}", '
                'pretrained=True)')
    return (f'model = {timm_model(vit)}\nmodel.load_state_dict('
            f'safetensors.torch.load_file({str(path)!r}))')


def timm_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the contents of timm's ``config.json``."""
    vit = checkpoint.vit
    name = timm_name(vit)
    if name is None or vit.eps != EPS:
        raise ValueError(
            f'timm has no name for a {vit} and eps {vit.eps}, which a folder '
            'for it needs: write a file that ends in .safetensors.')
    mean, std = checkpoint.normalization.scaled()
    return dict(
        architecture=name,
        num_classes=0,
        num_features=vit.width,
        global_pool='avg' if vit.averages else 'token',
        model_args=dict(
            img_size=list(vit.image_size), in_chans=vit.in_channels,
            qkv_bias=vit.qkv_bias,
            global_pool='avg' if vit.averages else 'token'),
        pretrained_cfg=dict(
            input_size=[vit.in_channels, *vit.image_size],
            fixed_input_size=True, interpolation='bicubic', crop_pct=1.0,
            mean=mean, std=std, num_classes=0,
            first_conv='patch_embed.proj', classifier='head'))


def timm_name(vit: PlainViT) -> str | None:
    """Return the name that timm has for a model, if it has one."""
    return TIMM_MODELS.get((vit.width, vit.depth, vit.num_heads,
                            vit.hidden_width, vit.patch_size))


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
    if vit.eps != EPS:
        options.append('norm_layer=functools.partial(torch.nn.LayerNorm, '
                       f'eps={vit.eps})')
    name = timm_name(vit)
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
    """Write the encoder, of any kind, as mmpretrain loads one."""
    check_suffix(out, is_safetensors=False)
    state = {PREFIX + key: value.detach().clone()
             for key, value in checkpoint.encoder.items()}
    meta = dict(grid=list(checkpoint.grid)) if checkpoint.grid else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        torch.save(dict(meta=meta, state_dict=state), file)
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
    save_tensors({PREFIX + k: v for k, v in checkpoint.encoder.items()},
                 out, {key: str(value) for key, value in facts.items()})
    return f'safetensors.torch.load_file({str(out)!r})'


# ---- writing


def save_tensors(state: dict[str, Tensor], out: Path,
                 metadata: dict[str, str] | None = None) -> None:
    """Write tensors, each with memory of its own, as safetensors."""
    own = {key: value.detach().clone(memory_format=torch.contiguous_format)
           for key, value in state.items()}
    check_suffix(out, is_safetensors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        # libraries of Hugging Face refuse a file without a format
        save_file(own, file.name, {'format': 'pt', **(metadata or {})})


def check_suffix(out: Path, is_safetensors: bool) -> None:
    """Raise ValueError if a name belies the format, which readers go by."""
    if (out.suffix == '.safetensors') != is_safetensors:
        raise ValueError(f'--out must {"" if is_safetensors else "not "}end '
                         f'in .safetensors for this target, got {out.name}.')


def refuse_to_overwrite(out: Path, source: str, force: bool) -> None:
    """Raise ValueError if writing would destroy something unasked."""
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


def to_hf(checkpoint: Checkpoint, out: Path,
          encoder_only: bool = False) -> str:
    """Write a folder that transformers loads; return how.

    Weights of MAE are written as ``ViTMAEForPreTraining`` unless the encoder
    alone is asked for, all others as ``ViTModel``.
    """
    if checkpoint.normalization.channels != 'RGB':
        raise ValueError('the model was trained on BGR images, which no image '
                         'processor of transformers gives: use another --to.')
    has_decoder = bool(checkpoint.decoder) and not encoder_only
    if checkpoint.vit.averages:
        raise ValueError(
            'its encoder ends in a norm of the averaged patches, which ViT of '
            'transformers lacks: use --to timm.')
    prefix = 'vit.' if has_decoder else ''
    state = {prefix + rename(key, HF, HF_BLOCK, 'encoder.layer'): value
             for key, value in checkpoint.encoder.items()}
    if has_decoder:
        state |= {'decoder.' + rename(key, {'ln1.': 'decoder_norm.'}, HF_BLOCK,
                                      'decoder_layers'): value
                  for key, value in checkpoint.decoder.items()}
    texts = {'preprocessor_config.json': processor_config(checkpoint),
             'config.json': model_config(checkpoint, has_decoder)}
    save_tensors(split_qkv(state), out / 'model.safetensors')
    for name, content in texts.items():
        with replacing(out / name) as file:
            file.write((json.dumps(content, indent=2) + '\n').encode())
    if has_decoder:
        h, w = (side // checkpoint.vit.patch_size
                for side in checkpoint.vit.image_size)
        return MAE_USAGE.format(folder=str(out), num_patches=h * w)
    return (f'model = transformers.ViTModel.from_pretrained({str(out)!r}, '
            'add_pooling_layer=False)')


def split_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let queries, keys and values part ways."""
    parted = {}
    for key, value in state.items():
        layer, qkv, kind = key.rpartition('.attn.qkv.')
        thirds = dict(zip(('query', 'key', 'value'), value.chunk(3),
                          strict=True)) if qkv else {}
        parted.update({f'{layer}.attention.attention.{name}.{kind}': third
                       for name, third in thirds.items()} or {key: value})
    return parted


def model_config(checkpoint: Checkpoint, has_decoder: bool) -> dict[str, Any]:
    """Return the contents of ``config.json``."""
    vit = checkpoint.vit
    h, w = vit.image_size
    config = dict(
        architectures=['ViTModel'],
        model_type='vit',
        hidden_size=vit.width,
        num_hidden_layers=vit.depth,
        num_attention_heads=vit.num_heads,
        intermediate_size=vit.hidden_width,
        hidden_act='gelu',
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=vit.eps,
        image_size=h if h == w else [h, w],
        patch_size=vit.patch_size,
        num_channels=vit.in_channels,
        qkv_bias=vit.qkv_bias,
        torch_dtype=str(checkpoint.encoder['pos_embed'].dtype).split('.')[-1])
    return {**config, **decoder_config(checkpoint)} if has_decoder else config


def decoder_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what ``config.json`` says of MAE's decoder, or raise."""
    vit, state = checkpoint.vit, checkpoint.decoder
    model = part(checkpoint.config, 'model')
    neck, head = part(model, 'neck'), part(model, 'head')
    depth = count_blocks(state, 'decoder_blocks')
    check_keys(state, [*FRAME, *block_keys('decoder_blocks', depth)])
    outputs, width = state['decoder_pred.weight'].shape
    h, w = vit.image_size
    for is_wrong, problem in (
        (not neck or not head, 'the checkpoint holds no config, and its '
         "tensors tell neither the decoder's heads nor its loss: pass "
         '--config, or --encoder-only.'),
        (norm_eps(neck) != vit.eps, 'norm_cfg of encoder and decoder must have'
         f' the same eps, got {vit.eps} and {norm_eps(neck)}.'),
        (outputs != vit.patch_size**2 * vit.in_channels, 'its decoder must '
         f'predict {vit.in_channels} x {vit.patch_size} x {vit.patch_size} '
         f'pixels of a patch, got {outputs} numbers.'),
        (h != w, 'ViTMAE of transformers takes square images, got '
         f'{h} x {w}: pass --encoder-only.'),
        (not vit.qkv_bias, 'ViTMAE of transformers has one qkv_bias for both, '
         'got False in the encoder and True in the decoder: pass '
         '--encoder-only.')):
        if is_wrong:
            raise ValueError(problem)
    return dict(
        architectures=['ViTMAEForPreTraining'],
        model_type='vit_mae',
        decoder_hidden_size=width,
        decoder_num_hidden_layers=depth,
        # mmpretrain's own defaults where a config does not name them
        decoder_num_attention_heads=check_heads(
            neck.get('decoder_num_heads', 16), width),
        decoder_intermediate_size=len(
            state['decoder_blocks.0.ffn.layers.0.0.weight']),
        mask_ratio=part(model, 'backbone').get('mask_ratio', 0.75),
        norm_pix_loss=bool(head.get('norm_pix', False)))


def processor_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the contents of ``preprocessor_config.json``."""
    h, w = checkpoint.vit.image_size
    mean, std = checkpoint.normalization.scaled()
    return dict(
        image_processor_type='ViTImageProcessor',
        do_resize=True,
        size=dict(height=h, width=w),
        resample=BICUBIC,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=mean,
        image_std=std)


class Target(NamedTuple):
    """How a name beside the checkpoint ends, and what writes to a path."""

    ending: str
    write: Callable[[Checkpoint, Path], str]  # returns how to load it


TARGETS = {
    'timm': Target('_timm.safetensors', to_timm),
    'hf': Target('_hf', to_hf),
    'mmpretrain': Target('_mmpretrain.pth', to_mmpretrain),
    'safetensors': Target('_encoder.safetensors', to_safetensors),
    'onnx': Target('.onnx', to_onnx),
}
