"""Load a state dict and list what it and a module had of each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

# what a downstream backbone has and a pre-trained encoder has not: relative
# positions (ViTDet), the norm of another kind of output
NEW = re.compile(r'(^|\.)rel_pos_[hw]$|^(ln|norm)\d?\.')
# what a pre-trained encoder has and a downstream backbone has not
UNUSED = re.compile(r'^(cls_token|mask_token)$|^(ln|norm)\d?\.')
# buffers that hold nothing learned
DERIVED = re.compile(r'(^|\.)(relative_position_index|num_batches_tracked)$')


@dataclass(frozen=True)
class Loading:
    """The keys taken from a state, and those that it or the module lacked.

    Args:
        taken (list[str]): Keys of the file that the module has now.
        resized (list[str]): Those of them that were changed, and how.
        left (list[str]): Keys of the file that the module does not have.
        lacked (list[str]): Keys of the module that the file does not have.
    """

    taken: list[str]
    resized: list[str]
    left: list[str]
    lacked: list[str]

    def __str__(self) -> str:
        return (f'took {summary(self.taken)}; '
                f'resized {", ".join(self.resized) or "nothing"}; '
                f'left {summary(self.left)}; '
                f'lacked, so new: {summary(self.lacked)}.')


def load_state(module: nn.Module, state: dict[str, Tensor],
               resized: dict[str, str], what: str) -> Loading:
    """Load what fits, and list it.

    Args:
        module (nn.Module): Takes the tensors.
        state (dict[str, Tensor]): The tensors.
        resized (dict[str, str]): Keys that were resized before, and how.
        what (str): What the tensors are, for an error.

    Raises:
        ValueError: If a tensor has another shape than the module's.
    """
    own = {key: value.shape for key, value in module.state_dict().items()}
    try:
        keys = module.load_state_dict(state, strict=False)
    except (RuntimeError, AssertionError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(
            f'{what} does not fit {type(module).__name__}: ' +
            ' '.join(line[:200] for line in lines[:4])) from error
    left = [key for key in keys.unexpected_keys if not DERIVED.search(key)]
    taken = [key for key in state
             if key not in left and not DERIVED.search(key)]
    by_module = {
        key: f'{tuple(state[key].shape)} -> {tuple(own[key])}'
        for key in taken if key in own and state[key].shape != own[key]
    }
    return Loading(
        taken, [f'{key} {how}' for key, how in {**resized, **by_module
                                                }.items()], left,
        [key for key in keys.missing_keys if not DERIVED.search(key)])


def refuse(wrong: list[str], extra: list[str], what: str,
           module: nn.Module) -> None:
    """Raise ValueError if keys are lacked or left that may not be."""
    if wrong or extra:
        raise ValueError(f'{what} does not fit {type(module).__name__}: the '
                         f'file lacks {summary(wrong)}; the model lacks '
                         f'{summary(extra)}.')


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
