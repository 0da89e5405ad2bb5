"""A checkpoint taken apart: encoder, decoder, and what was known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from ..config_text import parse_config, part
from ..encoder import PREFIX, split_encoder
from ..grid import Grid, find_grid
from ..read import meta_of, read_checkpoint, tensors_of
from ..state import Loading, summary
from .mae_decoder import MAEDecoder, describe_decoder
from .normalization import Normalization, find_normalization
from .plain_vit import PlainViT, describe_vit

BACKBONE, NECK = PREFIX, 'neck.'


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a checkpoint; what they are is worked out when asked for.

    Args:
        path (str): Where it came from.
        state (dict[str, Tensor]): All its tensors.
        config (dict): Config of the run; may be empty.
        num_heads (int, optional): Heads of the encoder, where nothing else
            tells.
        meta (dict): What else the file says of its tensors; may be empty.
        told_grid (tuple[int, int], optional): Grid (h, w) of the encoder,
            where nothing else tells.
    """

    path: str
    state: dict[str, Tensor]
    config: dict[str, Any]
    num_heads: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    told_grid: Grid | None = None

    @cached_property
    def encoder(self) -> dict[str, Tensor]:
        """The encoder's tensors, without the mask token of pre-training."""
        state, _ = split_encoder(self.state, BACKBONE, self.path)
        if 'patch_embed.projection.weight' not in state:
            raise ValueError('it holds no encoder: it should have '
                             f'{BACKBONE}patch_embed.projection.weight, got '
                             f'{summary(self.state)}.')
        return {k: v for k, v in state.items() if k != 'mask_token'}

    @cached_property
    def grid(self) -> Grid | None:
        """Height and width of the encoder's grid, None if nothing tells."""
        return find_grid(self.encoder, {**self.meta, 'cfg': self.config},
                         self.told_grid)

    @cached_property
    def decoder(self) -> dict[str, Tensor]:
        """The tensors of MAE's decoder, empty where there is none."""
        state = _under(self.state, NECK)
        return state if 'decoder_embed.weight' in state else {}

    @cached_property
    def vit(self) -> PlainViT:
        """What the encoder is."""
        return describe_vit(self.encoder,
                            part(self.config, 'model', 'backbone'),
                            self.num_heads, self.grid)

    @cached_property
    def mae_decoder(self) -> MAEDecoder:
        """What the decoder is."""
        return describe_decoder(self.decoder, self.vit,
                                part(self.config, 'model'))

    @cached_property
    def normalization(self) -> Normalization:
        """How its images were normalised."""
        return find_normalization(self.state, self.config)

    def report(self, with_decoder: bool = False) -> str:
        """Name the keys that are exported, and those left."""
        parts = [self.encoder, self.decoder if with_decoder else {}]
        own = {id(value) for part in parts for value in part.values()}
        taken = [key for key, value in self.state.items() if id(value) in own]
        left = [key for key in self.state if key not in taken]
        return f'exported from {self.path}: {Loading(taken, [], left, [])}'


def open_checkpoint(path: str,
                    num_heads: int | None = None,
                    config: dict[str, Any] | None = None,
                    grid: Grid | None = None) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Args:
        path (str): File or URL.
        num_heads (int, optional): Heads of the encoder, where neither the
            config nor a known architecture tells.
        config (dict, optional): Config to go by instead of the text in the
            file.
        grid (tuple[int, int], optional): Height and width of the encoder's
            grid in patches, where neither the file nor the config tells.

    Raises:
        ValueError: If it cannot be read or holds no tensor.
    """
    loaded = read_checkpoint(path)
    meta = meta_of(loaded)
    if config is None:
        text = meta.get('cfg')
        config = parse_config(text) if isinstance(text, str) else {}
    return Checkpoint(path, tensors_of(loaded, path), config, num_heads, meta,
                      grid)


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value
        for key, value in state.items() if key.startswith(prefix)
    }
