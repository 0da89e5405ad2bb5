"""Load a checkpoint into the model of the config it was made with."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from .encoder import PREFIX, split_encoder
from .grid import Grid, fit_positions
from .read import meta_of, tensors_of
from .state import DERIVED, NEW, UNUSED, check_sizes, load_state, refuse


def load_model(model: nn.Module,
               checkpoint: dict[str, Any],
               path: str,
               grid: Grid | None = None) -> tuple[str, bool]:
    """Load a whole model, or its encoder where the file holds no other part.

    Positions of another grid are interpolated.

    Args:
        model (nn.Module): The model; what its ``backbone`` is, is the
            encoder.
        checkpoint (dict): As :func:`amt_mm.weights.read_checkpoint` returns
            it.
        path (str): Where it came from, for the report.
        grid (tuple[int, int], optional): See
            :func:`amt_mm.weights.load_encoder`.

    Returns:
        tuple: One line that names the keys taken, resized, left and lacked,
        and whether all of the model was loaded, not the encoder alone.

    Raises:
        ValueError: If anything of the model is lacked, but all of what is not
            the encoder, or if the file holds an encoder of another
            architecture.
    """
    what = f'the model in {path}'
    state, resized = _fit(model, checkpoint, path, what, grid)
    loading = load_state(model, state, resized, what)
    rest = {key for key in model.state_dict()
            if not key.startswith(PREFIX) and not DERIVED.search(key)}
    is_whole = not rest or not rest.issubset(loading.lacked) or \
        getattr(model, 'backbone', None) is None
    wrong = loading.lacked if is_whole else [
        key for key in loading.lacked if key not in rest
        and not NEW.search(key.removeprefix(PREFIX))]
    extra = [key for key in loading.left if key.startswith(PREFIX)
             and not UNUSED.search(key.removeprefix(PREFIX))]
    refuse(wrong, extra, what, model)
    name = 'model' if is_whole else 'encoder'
    return f'{name} loaded from {path}: {loading}', is_whole


def _fit(model: nn.Module, checkpoint: dict[str, Any], path: str, what: str,
         grid: Grid | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors by the names of the model, and those resized."""
    state: dict[str, Tensor] = OrderedDict(tensors_of(checkpoint, path))
    resized: dict[str, str] = {}
    backbone: Any = getattr(model, 'backbone', None)
    if backbone is not None:
        encoder, others = split_encoder(state, PREFIX, path)
        check_sizes(backbone, encoder, path)
        resized = fit_positions(backbone, encoder, meta_of(checkpoint), what,
                                grid, assume_own_grid=True)
        state = OrderedDict({f'{PREFIX}{key}': value
                             for key, value in encoder.items()}, **others)
    # versions of layers, whose own hooks mend what older ones wrote
    state._metadata = getattr(  # type: ignore[attr-defined]
        checkpoint.get('state_dict'), '_metadata', OrderedDict())
    return state, {f'{PREFIX}{key}': how for key, how in resized.items()}
