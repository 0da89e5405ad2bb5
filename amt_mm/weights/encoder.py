"""Find the encoder in a checkpoint and load it, all of it or none."""

from __future__ import annotations

from torch import Tensor, nn

from .grid import Grid, fit_positions
from .read import meta_of, read_checkpoint, read_state_dict, tensors_of
from .state import NEW, UNUSED, check_sizes, load_state, refuse, summary

PREFIX = 'backbone.'
OTHER_PARTS = ('neck.', 'head.', 'data_preprocessor.')


def encoder_state(path: str,
                  prefix: str = PREFIX
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
    encoder, others = split_encoder(read_state_dict(path), prefix, path)
    return encoder, list(others)


def split_encoder(
    state: dict[str, Tensor], prefix: str, path: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the encoder's tensors without their prefix, and the others.

    Raises:
        ValueError: If there is no encoder.
    """
    if any(key.startswith(prefix) for key in state):
        own = [key for key in state if key.startswith(prefix)]
    elif any(key.startswith('patch_embed.') for key in state):
        own = [key for key in state if not key.startswith(OTHER_PARTS)]
    else:
        raise ValueError(
            f'the checkpoint {path} holds no encoder: its keys should begin '
            f'with {prefix!r}, got {summary(state)}.')
    others = {key: value for key, value in state.items() if key not in own}
    return {key.removeprefix(prefix): state[key] for key in own}, others


def load_encoder(module: nn.Module,
                 path: str,
                 prefix: str = PREFIX,
                 grid: Grid | None = None,
                 assume_own_grid: bool = False) -> str:
    """Load a pre-trained encoder into a backbone and report what happened.

    Positions of another grid are interpolated.

    Args:
        module (nn.Module): The backbone.
        path (str): File or URL of a whole model's checkpoint, or of an
            encoder's alone. Only tensors and plain data are read from it.
        prefix (str): What the encoder's keys begin with.
            Defaults to ``'backbone.'``.
        grid (tuple[int, int], optional): Height and width of the grid it was
            pre-trained on, in patches. Needed where neither the file nor a
            config in it says.
        assume_own_grid (bool): Whether the module comes from the config that
            the file was made with, so that its grid is the file's where
            nothing else says. Defaults to False.

    Returns:
        str: One line that names the keys taken, resized, left and lacked.

    Raises:
        ValueError: If the file cannot be read, holds no encoder, or one of
            another architecture, or if its grid is not known.
    """
    checkpoint = read_checkpoint(path)
    state, others = split_encoder(
        tensors_of(checkpoint, path), prefix, path)
    what = f'the encoder in {path}'
    check_sizes(module, state, path)
    resized = fit_positions(module, state, meta_of(checkpoint), what, grid,
                            assume_own_grid)
    loading = load_state(module, state, resized, what)
    refuse([key for key in loading.lacked if not NEW.search(key)],
           [key for key in loading.left if not UNUSED.search(key)],
           what, module)
    loading.left.extend(others)
    return f'encoder loaded from {path}: {loading}'
