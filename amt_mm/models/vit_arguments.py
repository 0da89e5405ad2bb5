"""What the arguments of a vision transformer may be.

mmpretrain takes what it is given: a drop rate that is no number, or heads
that do not divide the width, fail later or never.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from amt_mm.arguments import (
    POSITIVE,
    Check,
    check_all,
    check_bool,
    check_choice,
    check_int,
    check_multiple,
    check_number,
    check_sides,
)

MAX_DEPTH = 1000
NUMBERS = dict(
    embed_dims=POSITIVE,
    num_layers=partial(check_int, low=1, high=MAX_DEPTH),
    num_heads=POSITIVE,
    feedforward_channels=POSITIVE)


def check_arch(name: str, arch: Any) -> None:
    """Refuse a dict that is no architecture; a string is looked up later."""
    if isinstance(arch, str):
        return
    if not isinstance(arch, dict) or set(arch) != set(NUMBERS):
        raise ValueError(f'{name} must be a name or a dict of '
                         f'{sorted(NUMBERS)}, got {arch!r}.')
    check_all(NUMBERS, arch, f'{name}.')
    check_multiple(f'{name}.embed_dims', arch['embed_dims'],
                   arch['num_heads'], 'num_heads')


def check_norm(name: str, cfg: Any) -> None:
    """Refuse an ``eps`` that makes a norm give NaN."""
    if isinstance(cfg, dict) and 'eps' in cfg:
        check_number(f'{name}.eps', cfg['eps'], '[0, 1]')


def check_indices(name: str, indices: Any) -> None:
    """Refuse what names no layer."""
    many = indices if isinstance(indices, (list, tuple)) else [indices]
    if not many:
        raise ValueError(f'{name} must name a layer, got {indices!r}.')
    for index in many:
        check_int(name, index, -MAX_DEPTH)


def loads_weights(init_cfg: Any) -> bool:
    """Tell whether a module's ``init_cfg`` loads a file.

    ``init_weights`` of a module must then draw nothing after it.
    """
    return isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'


def check_init(name: str, cfg: Any) -> None:
    """Refuse a list that loads a file: mmpretrain's ViTs draw over it."""
    if isinstance(cfg, (list, tuple)) and any(map(loads_weights, cfg)):
        raise ValueError(f'{name} must be one dict if it loads weights, got '
                         f'{cfg!r}: positions would be drawn over them.')


VIT_CHECKS: dict[str, Check] = dict(
    arch=check_arch,
    img_size=check_sides,
    patch_size=check_sides,
    in_channels=POSITIVE,
    out_indices=check_indices,
    drop_rate=partial(check_number, bounds='[0, 1)'),
    drop_path_rate=partial(check_number, bounds='[0, 1)'),
    qkv_bias=check_bool,
    norm_cfg=check_norm,
    final_norm=check_bool,
    with_cls_token=check_bool,
    frozen_stages=partial(check_int, low=-1),
    interpolate_mode=partial(check_choice, choices=('bicubic', 'bilinear')),
    layer_scale_init_value=partial(check_number, bounds='[0, 100]'),
    pre_norm=check_bool,
    use_abs_pos_emb=check_bool,
    use_rel_pos_bias=check_bool,
    use_shared_rel_pos_bias=check_bool,
    init_cfg=check_init)
