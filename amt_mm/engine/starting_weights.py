"""Start a new run from the weights of another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.runner import CheckpointLoader
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from amt_mm.weights import Weights, load_encoder, read_weights

# before a path, it has mmengine read tensors and plain data only, in any
# format that the project reads
SCHEME = 'amt_mm:'


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

    Args:
        model (nn.Module): One with a ``backbone``.
        weights (Weights): What was read of the checkpoint.
        **options: ``grid`` and ``adapt`` of
            :func:`amt_mm.weights.load_encoder`.

    Returns:
        tuple: The state dict to load, and a line that says what was taken,
        resized, left, and lacked.

    Raises:
        ValueError: If the encoder does not fit the backbone.
    """
    encoder = load_encoder(model.backbone, weights, **options)
    report, state = f'a new run begins: {encoder}', weights.state
    own = model.state_dict()
    if not isinstance(model, BaseSelfSupervisor):
        rest = {key: value for key, value in state.items()
                if key.split('.')[0] in dict(model.named_children())}
        return rest | _below(own, 'backbone.'), report
    for name, part in model.named_children():
        prefix = f'{name}.'
        if name == 'backbone' or not part.state_dict():
            continue
        found = _below(state, prefix)
        wrong = _misfits(part, {
            key.removeprefix(prefix): value for key, value in found.items()})
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


def _misfits(part: nn.Module, found: dict[str, Tensor]) -> str:
    """Say why tensors do not fit a part of a model, '' if they do.

    What is not learnt, such as fixed positions, may have another size.
    """
    own = part.state_dict()
    fixed = {name for name, parameter in part.named_parameters()
             if not parameter.requires_grad}
    reasons = {
        'the file lacks': own.keys() - found.keys(),
        'the model lacks': found.keys() - own.keys(),
        'of another size are': {
            key for key in own.keys() & found.keys() - fixed
            if own[key].shape != found[key].shape}}
    return ', '.join(f'{what} {_some(keys)}'
                     for what, keys in reasons.items() if keys)


def _some(keys: Iterable[str]) -> str:
    """Name up to three keys, and count the others."""
    names = sorted(keys)
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
