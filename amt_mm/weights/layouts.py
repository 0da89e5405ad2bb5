"""Find the encoder in a checkpoint by its keys, and give them our names.

Ours are those of mmpretrain's models: ``backbone.*`` is the encoder,
``neck.*`` the decoder of pre-training. The others are those of timm, which
the releases of MAE, DeiT, DINO, MoCo v3, BEiT, SimMIM and ViTDet have too, and
of transformers.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor

from .config_text import parse_config, part

PREFIX, NECK = 'backbone.', 'neck.'

# ours -> theirs, by the beginning of a key: of the model, and of a block
TIMM = {
    'patch_embed.projection.': 'patch_embed.proj.',
    'pre_norm.': 'norm_pre.',
    'ln1.': 'norm.',
    'ln2.': 'fc_norm.'
}
TIMM_BLOCK = {
    'ln1.': 'norm1.',
    'ln2.': 'norm2.',
    'ffn.layers.0.0.': 'mlp.fc1.',
    'ffn.layers.1.': 'mlp.fc2.',
    'attn.gamma1.weight': 'ls1.gamma',
    'ffn.gamma2.weight': 'ls2.gamma'
}
HF = {
    'cls_token': 'embeddings.cls_token',
    'mask_token': 'embeddings.mask_token',
    'dist_token': 'embeddings.distillation_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.projection.': 'embeddings.patch_embeddings.projection.',
    'ln1.': 'layernorm.'
}
HF_BLOCK = {
    'ln1.': 'layernorm_before.',
    'attn.query.': 'attention.attention.query.',
    'attn.key.': 'attention.attention.key.',
    'attn.value.': 'attention.attention.value.',
    'attn.proj.': 'attention.output.dense.',
    'ln2.': 'layernorm_after.',
    'ffn.layers.0.0.': 'intermediate.dense.',
    'ffn.layers.1.': 'output.dense.'
}
OTHER_BLOCK = {  # DINOv2 of transformers, EVA of timm
    'attn.gamma1.weight': 'layer_scale1.lambda1',
    'ffn.gamma2.weight': 'layer_scale2.lambda1',
    'attn.query.': 'attn.q_proj.',
    'attn.key.': 'attn.k_proj.',
    'attn.value.': 'attn.v_proj.'
}
BLOCK = re.compile(r'^(layers|blocks|encoder\.layer|decoder_blocks|'
                   r'decoder_layers)\.(\d+)\.(.*)$')
PATCHES = re.compile(
    r'^(.*?)(patch_embed\.proj(ection)?|'
    r'embeddings\.patch_embeddings\.projection)\.weight$')
# of several encoders in a file these are not the one to start from
SECOND = re.compile(r'momentum_encoder|target_generator|student')
# below the encoder's prefix, but not of it
HEADS = re.compile(r'^(neck|head|head_dist|fc|pooler|classifier|lm_head|'
                   r'data_preprocessor|decoder)\.|^decoder_')
AVERAGED = ('state_dict_ema', 'model_ema', 'ema_state_dict', 'teacher')
WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')
OTHER_NETWORKS = {
    r'^vision_model\.|^visual\.(conv1|transformer)\.':
    'a CLIP with names other than those of mmpretrain or timm',
    r'layer1\.0\.(conv1|bn1)\.': 'a ResNet',
    r'stages\.\d+\.blocks\.\d+\.attn|layers\.\d+\.blocks\.\d+\.attn':
    'a Swin Transformer',
    r'stages\.\d+\..*(dwconv|depthwise_conv|conv_dw)': 'a ConvNeXt',
    r'word_embeddings|embed_tokens|\bwte\b|token_embedding':
    'a language model',
    r'(reg_token|register_tokens)$':
    "a ViT with register tokens, which mmpretrain's VisionTransformer has "
    'no place for',
    r'(^|\.)dist_token$': 'a DeiT with a distillation token, whose backbone '
    "is mmpretrain's DistilledVisionTransformer",
    r'[qk]_norm\.': 'a ViT that normalises queries and keys'
}


@dataclass(frozen=True)
class Weights:
    """A checkpoint by our names."""

    path: str  # where it came from
    encoder: dict[str, Tensor]  # by their names in the backbone
    others: dict[str, Tensor]
    # what the file says of them, as far as it is known: ``grid``,
    # ``image_size``, ``patch_size``, ``num_heads``, and the config of the run
    # as ``cfg``, a dict
    meta: dict[str, Any] = field(default_factory=dict)
    library: str = ''  # whose names it had, '' if ours
    notes: tuple[str, ...] = ()  # what else the log is to say
    versions: Any = None  # those of the layers that wrote the tensors

    @property
    def num_heads(self) -> int | None:
        """Heads of the encoder, as the file or the config in it states."""
        arch = part(self.meta, 'cfg', 'model', 'backbone').get('arch')
        if isinstance(arch, str):
            arch = VisionTransformer.arch_zoo.get(arch.lower())
        heads = part(arch).get('num_heads') or self.meta.get('num_heads')
        return int(heads) if heads else None

    @property
    def state(self) -> dict[str, Tensor]:
        """All tensors, by the names in a whole model."""
        own = {PREFIX + key: value for key, value in self.encoder.items()}
        return {**own, **{key: value for key, value in self.others.items()
                          if not (own and key.startswith(PREFIX))}}

    def source(self) -> str:
        """Return the path, and in brackets what was read otherwise."""
        notes = list(self.notes)
        if self.library:
            notes.append(f'names of {self.library}')
        return f'{self.path} ({"; ".join(notes)})' if notes else self.path

    def check(self) -> None:
        """Raise ValueError if there is no encoder."""
        if not self.encoder:
            raise ValueError(
                f'the checkpoint {self.path} holds no encoder: its keys '
                f'should begin with {PREFIX!r} or be those of a ViT of timm '
                f'or transformers, got {summary(self.others)}'
                f'{looks_like(self.others)}.')


def open_weights(checkpoint: dict[str, Any], path: str,
                 prefix: str = PREFIX) -> Weights:
    """Find out whose names a checkpoint from a path has, and give it ours.

    Raises ValueError if it holds no tensor.
    """
    state, notes = find_state(checkpoint, path)
    own, others, inner = split_encoder(state, prefix)
    library = next(filter(None, map(whose_names, own)), '')
    if library:
        own = {_ours(key): value for key, value in own.items()}
        others = {_ours_of_decoder(key): value
                  for key, value in others.items()}
    if inner not in ('', prefix):
        notes.append(f'the encoder is below {inner!r}')
    return Weights(path, join_qkv(own), join_qkv(others),
                   find_meta(checkpoint), library, tuple(notes),
                   getattr(checkpoint.get('state_dict'), '_metadata', None))


def find_state(checkpoint: dict[str, Any],
               path: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a checkpoint, averaged ones where it has them."""
    notes = []
    by_mmengine = 'mmengine_version' in part(checkpoint, 'meta')
    # whose EMAHook saves the averaged weights as those of the model
    averaged = () if by_mmengine else AVERAGED
    if by_mmengine and 'ema_state_dict' in checkpoint:
        notes.append('averaged weights (EMA)')
    for name in (*averaged, 'state_dict', 'model', 'student', ''):
        found = checkpoint.get(name) if name else checkpoint
        state = {WRAPPERS.sub('', str(key)): value
                 for key, value in found.items() if isinstance(value, Tensor)
                 } if isinstance(found, dict) else {}
        if state and (name not in AVERAGED or any(map(PATCHES.match, state))):
            if name in AVERAGED:
                notes.append(f'averaged weights, {name!r}')
            return state, notes
    keys = [str(key) for key in checkpoint]
    raise ValueError(f'the checkpoint {path} holds no weights: it has '
                     f'{summary(keys)}.')


def split_encoder(
    state: dict[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """Return the encoder's tensors, the others, and the encoder's prefix."""
    found = [match[1] for match in map(PATCHES.match, state) if match]
    if not found:
        own = [key for key in state if key.startswith(prefix)]
        inner = prefix
    else:
        inner = min(found, key=lambda name: (
            not name.startswith(prefix), bool(SECOND.search(name))))
        own = [key for key in state if key.startswith(inner)
               and not HEADS.match(key.removeprefix(inner))]
    token = f'{inner}mask_token'
    if f'{inner}decoder_embed.weight' in state and token in own:
        own.remove(token)  # of MAE, whose encoder has none
    encoder = set(own)
    others = {
        key.removeprefix(inner)
        if key == token or key.startswith(f'{inner}decoder_') else key:
        value for key, value in state.items() if key not in encoder}
    return {key.removeprefix(inner): state[key] for key in own}, others, inner


def whose_names(key: str) -> str:
    """Name the library that names a tensor of an encoder so, '' if ours."""
    if key.startswith(('embeddings.', 'encoder.layer.')):
        return 'transformers'
    return 'timm' if key.startswith(('patch_embed.proj.', 'blocks.')) else ''


def rename(key: str, names: dict[str, str], block: dict[str, str],
           blocks: str) -> str:
    """Give a key of ours the name that a library has for it."""
    match = BLOCK.match(key)
    if match:
        return f'{blocks}.{match[2]}.{_replace(match[3], block)}'
    return _replace(key, names)


def _replace(key: str, names: dict[str, str]) -> str:
    """Replace what a key begins with."""
    for old, new in names.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _inverse(*tables: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for table in tables for ours, theirs in table.items()}


def _ours(key: str, blocks: str = 'layers') -> str:
    return rename(key, _inverse(TIMM, HF),
                  _inverse(TIMM_BLOCK, HF_BLOCK, OTHER_BLOCK), blocks)


def _ours_of_decoder(key: str) -> str:
    """Rename what is of a decoder of MAE or SimMIM; leave all else."""
    inner = re.sub(r'^decoder\.(?=decoder_|mask_token)', '', key)
    if inner.startswith('decoder_') or inner == 'mask_token':
        return NECK + _ours(inner.replace('decoder_norm.', 'norm.'),
                            'decoder_blocks')
    return NECK + key if key.startswith('decoder.0.') else key


def join_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join what other libraries split; a key without a bias has zeros."""
    joined: dict[str, Tensor] = {}
    for key, value in state.items():
        match = re.match(r'^(.*\.attn\.)(query|key|value)\.(\w+)$', key)
        if not match:
            joined[key] = value
            continue
        thirds = [state.get(f'{match[1]}{name}.{match[3]}')
                  for name in ('query', 'key', 'value')]
        joined[f'{match[1]}qkv.{match[3]}'] = torch.cat(
            [torch.zeros_like(value) if third is None else third
             for third in thirds])
    return joined


def find_meta(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of its tensors, in our words."""
    meta = dict(part(checkpoint, 'meta'))
    if isinstance(meta.get('cfg'), str):
        meta['cfg'] = parse_config(meta['cfg'])
    args = checkpoint.get('args')
    if isinstance(args, Namespace) and hasattr(args, 'input_size'):
        meta.setdefault('image_size', args.input_size)
    config = part(meta, 'hf_config')
    size = part(config, 'pretrained_cfg').get('input_size')  # timm's
    for ours, theirs in (('image_size', size[1:] if size else
                          config.get('image_size')),
                         ('patch_size', config.get('patch_size')),
                         ('num_heads', config.get('num_attention_heads'))):
        if theirs is not None:
            meta.setdefault(ours, theirs)
    return meta


def looks_like(keys: Iterable[str]) -> str:
    """Say what other network has such keys, '' if it is not known."""
    keys = list(keys)
    for pattern, name in OTHER_NETWORKS.items():
        if any(re.search(pattern, key) for key in keys):
            return f': it looks like {name}'
    return ''


def summary(keys: Iterable[str]) -> str:
    """Name up to six keys, or count them by their first word."""
    keys = list(keys)
    if not keys:
        return 'nothing'
    if len(keys) <= 6:
        return ', '.join(keys)
    words = Counter(key.split('.')[0] for key in keys)
    return f'{len(keys)} keys (' + ', '.join(
        f'{word} {number}' for word, number in words.items()) + ')'
