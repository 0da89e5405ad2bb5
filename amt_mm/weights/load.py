"""Load an encoder or a whole model: all of it, or none.

To begin a run from the weights of another, what fits of it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from .config_text import part
from .grid import ADAPTABLE, Grid, fit_patches, fit_positions
from .layouts import PREFIX, Weights, looks_like, open_weights, summary
from .read import read_checkpoint

# what a downstream backbone has and a pre-trained encoder has not: relative
# positions (ViTDet), the norm of another kind of output
NEW = re.compile(r'(^|\.)rel_pos_[hw]$|^(ln|norm)\d?\.')
# what a pre-trained encoder has and a downstream backbone has not
UNUSED = re.compile(r'^(cls_token|mask_token)$|^(ln|norm)\d?\.')
# buffers that hold nothing learned
DERIVED = re.compile(r'(^|\.)(relative_position_index|num_batches_tracked)$')
# before a path, it has mmengine read tensors and plain data only, in any
# format that the project reads
SCHEME = 'amt_mm:'


@dataclass(frozen=True)
class Loading:
    """The keys taken from a state, and those that it or the module lacked."""

    taken: list[str]  # keys of the file that the module has now
    resized: list[str]  # those of them that were changed, and how
    left: list[str]  # keys of the file that the module does not have
    lacked: list[str]  # keys of the module that the file does not have

    def __str__(self) -> str:
        return (f'took {summary(self.taken)}; '
                f'resized {", ".join(self.resized) or "nothing"}; '
                f'left {summary(self.left)}; '
                f'lacked, so new: {summary(self.lacked)}.')


def read_weights(path: str, prefix: str = PREFIX) -> Weights:
    """Read a file, a URL, or a folder of transformers, by our names.

    Nothing in it is executed. Raises ValueError if it cannot be read, or holds
    no tensor.
    """
    return open_weights(read_checkpoint(path), path, prefix)


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by their names in a whole model."""
    return read_weights(path).state


def load_encoder(module: nn.Module,
                 source: str | Weights,
                 prefix: str = PREFIX,
                 grid: Grid | None = None,
                 assume_own_grid: bool = False,
                 adapt: Iterable[str] = ()) -> str:
    """Load a pre-trained encoder into a backbone; return what happened.

    The source is a checkpoint as :class:`Pretrained` takes it, whose arguments
    the others are, or what was read of it. With ``assume_own_grid``, the grid
    is the module's where nothing else says. Returned is a line that names the
    keys taken, resized, left and lacked. Raises ValueError if the file cannot
    be read, or holds no encoder or another, or if its grid is not known.
    """
    weights = read_weights(source, prefix) if isinstance(source, str) \
        else source
    what = f'the encoder in {weights.path}'
    state, resized = fit_encoder(module, weights, what, grid, assume_own_grid,
                                 adapt)
    loading = load_state(module, state, resized, what)
    refuse([key for key in loading.lacked if not NEW.search(key)],
           [key for key in loading.left if not UNUSED.search(key)],
           what, module)
    loading.left.extend(weights.others)
    return f'encoder loaded from {weights.source()}: {loading}'


def load_model(model: nn.Module,
               source: Weights,
               grid: Grid | None = None) -> tuple[str, bool]:
    """Load a whole model, or its encoder where the file holds no other part.

    Returned are one line that names the keys taken, resized, left and lacked,
    and whether all of the model was loaded. Raises ValueError if it does not
    fit.
    """
    what = f'the model in {source.path}'
    resized: dict[str, str] = {}
    state, backbone = source.state, getattr(model, 'backbone', None)
    if backbone is not None:
        encoder, resized = fit_encoder(backbone, source, what, grid, True)
        state = {**source.others, **{
            PREFIX + key: value for key, value in encoder.items()}}
    loading = load_state(
        model, state, {PREFIX + k: how for k, how in resized.items()}, what,
        source.versions)
    rest = {key for key in model.state_dict()
            if not key.startswith(PREFIX) and not DERIVED.search(key)}
    is_whole = not rest or not rest.issubset(loading.lacked) or \
        backbone is None
    wrong = loading.lacked if is_whole else [
        key for key in loading.lacked if key not in rest
        and not NEW.search(key.removeprefix(PREFIX))]
    extra = [key for key in loading.left if key.startswith(PREFIX)
             and not UNUSED.search(key.removeprefix(PREFIX))]
    refuse(wrong, extra, what, model)
    name = 'model' if is_whole else 'encoder'
    return f'{name} loaded from {source.source()}: {loading}', is_whole


def fit_encoder(
        module: nn.Module, weights: Weights, what: str,
        grid: Grid | None = None, assume_own_grid: bool = False,
        adapt: Iterable[str] = ()
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return an encoder as a module can load it, and what was resized."""
    weights.check()
    state = as_layers_of(module, weights.encoder)
    other = looks_like(state.keys() - module.state_dict().keys())
    if other:
        raise ValueError(
            f'{what} does not fit {type(module).__name__}{other}.')
    resized = fit_patches(module, state, adapt)
    check_sizes(module, state, weights)
    return state, {**resized, **fit_positions(
        module, state, weights.meta, what, grid, assume_own_grid,
        bool(weights.library))}


def as_layers_of(module: nn.Module,
                 state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write what BEiT's layers have as those of a plain ViT."""
    own, found = module.state_dict(), dict(state)
    for key in state:
        layer, _, name = key.rpartition('.')
        if key in own:
            continue
        if name == 'q_bias' and f'{layer}.qkv.bias' in own:
            bias, other = found.pop(key), found.pop(f'{layer}.v_bias')
            found[f'{layer}.qkv.bias'] = torch.cat(
                [bias, torch.zeros_like(bias), other])
        for scale, plain in (('gamma_1', 'attn.gamma1.weight'),
                             ('gamma_2', 'ffn.gamma2.weight')):
            if name == scale and f'{layer}.{plain}' in own:
                found[f'{layer}.{plain}'] = found.pop(key)
    return found


def load_state(module: nn.Module, state: dict[str, Tensor],
               resized: dict[str, str], what: str,
               versions: Any = None) -> Loading:
    """Load what fits, and list it; raise ValueError if a shape differs."""
    own = {key: value.shape for key, value in module.state_dict().items()}
    loaded = OrderedDict(state)
    loaded._metadata = versions or OrderedDict()  # type: ignore[attr-defined]
    try:
        keys = module.load_state_dict(loaded, strict=False)
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
                weights: Weights) -> None:
    """Say it in the words of a config if the sizes differ."""
    own, found = _sizes(module.state_dict()), _sizes(state)
    if 'width' in found:  # heads leave no trace in the tensors
        own |= part(vars(module), 'arch_settings')
        found |= dict(num_heads=weights.num_heads or 0)
    wrong = {name: f'{name} {found[name]} instead of {own[name]}'
             for name in ('width', 'in_channels', 'patch_size', 'depth',
                          'num_heads')
             if own.get(name) and found.get(name)
             and found[name] != own[name]}
    if not wrong:
        return
    names = [name for name in ADAPTABLE if name in wrong]
    advice = 'Set arch (embed_dims, num_layers, num_heads, ' \
        'feedforward_channels) and patch_size of the backbone to those it ' \
        'was pre-trained with.'
    if names and len(names) == len(wrong):
        advice = f'adapt={names} resizes it, as init_cfg.adapt of the ' \
            'backbone or, for load_from, as default_hooks.checkpoint.adapt.'
    raise ValueError(
        f'the encoder in {weights.path} is not that of the config: it has '
        f'{", ".join(wrong.values())}. {advice}')


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


@CheckpointLoader.register_scheme(SCHEME)
def read_for_mmengine(filename: str, map_location: Any) -> dict[str, Any]:
    """Read what mmengine then hands to the hooks and to the model."""
    weights = read_weights(filename.removeprefix(SCHEME))
    return dict(state_dict=weights.state, weights=weights)


def start_from(model: Any, weights: Weights,
               **options: Any) -> tuple[dict[str, Tensor], str]:
    """Load the encoder of a checkpoint, and choose what else is loaded.

    Of a pre-training model, each other part is taken if all that it learns
    fits, else it stays new. Of another model, what fits is left to mmengine.
    """
    encoder = load_encoder(model.backbone, weights, **options)
    report, state = f'a new run begins: {encoder}', weights.state
    own = model.state_dict()
    if not isinstance(model, BaseSelfSupervisor):
        rest = {key: value for key, value in state.items()
                if key.split('.')[0] in dict(model.named_children())}
        return rest | _below(own, PREFIX), report
    for name, child in model.named_children():
        found = _below(state, f'{name}.')
        if name == 'backbone' or not child.state_dict():
            continue
        wrong = _misfits(child, {
            key.removeprefix(f'{name}.'): v for key, v in found.items()})
        if not wrong:
            own |= {key: value for key, value in found.items()
                    if value.shape == own[key].shape}
        report += (f' The {name} is new, as that of the file does not fit: '
                   f'{wrong}.' if wrong else
                   f' The {name} is taken, too: {len(found)} keys.')
    return own, report


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items()
            if key.startswith(prefix)}


def _misfits(module: nn.Module, found: dict[str, Tensor]) -> str:
    """Say why what a part learns does not fit, '' if it does."""
    own = module.state_dict()
    fixed = {name for name, parameter in module.named_parameters()
             if not parameter.requires_grad}
    reasons = {
        'the file lacks': own.keys() - found.keys(),
        'the model lacks': found.keys() - own.keys(),
        'of another size are': {
            key for key in own.keys() & found.keys() - fixed
            if own[key].shape != found[key].shape}}
    return ', '.join(f'{what} {summary(sorted(keys))}'
                     for what, keys in reasons.items() if keys)
