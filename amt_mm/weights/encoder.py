"""Find the encoder in a checkpoint and load it, all of it or none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from torch import Tensor, nn

from .read import read_state_dict

# what a downstream backbone has and a pre-trained encoder has not: relative
# positions (ViTDet), the norm of another kind of output
NEW = re.compile(r'(^|\.)rel_pos_[hw]$|^(ln|norm)\d?\.')
# what a pre-trained encoder has and a downstream backbone has not
UNUSED = re.compile(r'^(cls_token|mask_token)$|^(ln|norm)\d?\.')

OTHER_PARTS = ('neck.', 'head.', 'data_preprocessor.')


def encoder_state(path: str,
                  prefix: str = 'backbone.'
                  ) -> tuple[dict[str, Tensor], list[str]]:
    """Read the encoder of a checkpoint.

    Args:
        path (str): File or URL of a whole model's checkpoint, or of an
            encoder's alone.
        prefix (str): What its keys begin with in the whole model.

    Returns:
        tuple: The encoder's tensors by their names without the prefix, and
        the names of the tensors that are not the encoder's.

    Raises:
        ValueError: If the file cannot be read or holds no encoder.
    """
    state = read_state_dict(path)
    if any(key.startswith(prefix) for key in state):
        others = [key for key in state if not key.startswith(prefix)]
    elif any(key.startswith('patch_embed.') for key in state):
        others = [key for key in state if key.startswith(OTHER_PARTS)]
    else:
        raise ValueError(
            f'the checkpoint {path} holds no encoder: its keys should begin '
            f'with {prefix!r}, got {summary(state)}.')
    return {
        key.removeprefix(prefix): value
        for key, value in state.items() if key not in set(others)
    }, others


def load_encoder(module: nn.Module,
                 path: str,
                 prefix: str = 'backbone.') -> str:
    """Load a pre-trained encoder into a backbone and report what happened.

    Position embeddings of another size are interpolated by the backbone's own
    ``load_state_dict`` hooks.

    Returns:
        str: One line that names the keys taken, left and lacked.

    Raises:
        ValueError: If the file cannot be read, holds no encoder, or one of
            another architecture.
    """
    state, others = encoder_state(path, prefix)
    check_sizes(module, state, path)
    own = {key: value.shape for key, value in module.state_dict().items()}
    try:
        keys = module.load_state_dict(state, strict=False)
    except (RuntimeError, AssertionError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(
            f'the encoder in {path} does not fit {type(module).__name__}: ' +
            ' '.join(line[:200] for line in lines[:4])) from error
    lacked, left = keys.missing_keys, keys.unexpected_keys
    wrong = [key for key in lacked if not NEW.search(key)]
    extra = [key for key in left if not UNUSED.search(key)]
    if wrong or extra:
        raise ValueError(
            f'the encoder in {path} does not fit {type(module).__name__}: '
            f'the file lacks {summary(wrong)}; '
            f'the model lacks {summary(extra)}.')
    taken = [key for key in state if key in own]
    resized = [
        f'{key} {tuple(state[key].shape)} -> {tuple(own[key])}'
        for key in taken if state[key].shape != own[key]
    ]
    return (f'encoder loaded from {path}: took {summary(taken)}; '
            f'resized {", ".join(resized) or "nothing"}; '
            f'left {summary([*left, *others])}; '
            f'lacked, so new: {summary(lacked)}.')


def check_sizes(module: nn.Module, state: dict[str, Tensor],
                path: str) -> None:
    """Say it in the words of a config if the sizes differ."""
    own, found = _sizes(module.state_dict()), _sizes(state)
    wrong = [
        f'{name} {found[name]} instead of {own[name]}' for name in own
        if name in found and found[name] != own[name]
    ]
    if wrong:
        raise ValueError(
            f'the encoder in {path} is not that of the config: it has '
            f'{", ".join(wrong)}. Set arch (embed_dims, num_layers, '
            'feedforward_channels) and patch_size of the backbone to those '
            'it was pre-trained with.')


def _sizes(state: dict[str, Tensor]) -> dict[str, int]:
    weight = state.get('patch_embed.projection.weight')
    sizes = {}
    if weight is not None and weight.ndim == 4:
        sizes = dict(
            width=weight.shape[0],
            in_channels=weight.shape[1],
            patch_size=weight.shape[-1])
    layers = {key.split('.')[1] for key in state if key.startswith('layers.')}
    return {**sizes, 'depth': len(layers)} if layers else sizes


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
