"""A checkpoint taken apart: encoder, decoder, and what was known of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..encoder import OTHER_PARTS, summary
from ..read import read_checkpoint
from .config_text import parse_config, part
from .mae_decoder import MAEDecoder, describe_decoder
from .normalization import Normalization, find_normalization
from .plain_vit import PlainViT, describe_vit

BACKBONE, NECK = 'backbone.', 'neck.'


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a checkpoint; what they are is worked out when asked for.

    Args:
        path (str): Where it came from.
        state (dict[str, Tensor]): All its tensors.
        config (dict): Config of the run; may be empty.
        num_heads (int, optional): Heads of the encoder, where nothing else
            tells.
    """

    path: str
    state: dict[str, Tensor]
    config: dict[str, Any]
    num_heads: int | None = None

    @cached_property
    def encoder(self) -> dict[str, Tensor]:
        """The encoder's tensors, without the mask token of pre-training."""
        state = _under(self.state, BACKBONE)
        if not state and 'patch_embed.projection.weight' in self.state:
            state = {
                key: value for key, value in self.state.items()
                if not key.startswith(OTHER_PARTS)
            }
        if 'patch_embed.projection.weight' not in state:
            raise ValueError('it holds no encoder: it should have '
                             f'{BACKBONE}patch_embed.projection.weight, got '
                             f'{summary(self.state)}.')
        return {k: v for k, v in state.items() if k != 'mask_token'}

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
                            self.num_heads)

    @cached_property
    def mae_decoder(self) -> MAEDecoder:
        """What the decoder is."""
        return describe_decoder(self.decoder, self.vit,
                                part(self.config, 'model'))

    @cached_property
    def normalization(self) -> Normalization:
        """How its images were normalised."""
        return find_normalization(self.state, self.config)


def open_checkpoint(path: str,
                    num_heads: int | None = None,
                    config: dict[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Args:
        path (str): File or URL.
        num_heads (int, optional): Heads of the encoder, where neither the
            config nor a known architecture tells.
        config (dict, optional): Config to go by instead of the text in the
            file.

    Raises:
        ValueError: If it cannot be read or holds no tensor.
    """
    loaded = read_checkpoint(path)
    state = loaded.get('state_dict', loaded)
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)} \
        if isinstance(state, dict) else {}
    if not state:
        raise ValueError(f'the checkpoint {path} holds no weights.')
    text = part(loaded, 'meta').get('cfg')
    if config is None:
        config = parse_config(text) if isinstance(text, str) else {}
    return Checkpoint(path, state, config, num_heads)


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value
        for key, value in state.items() if key.startswith(prefix)
    }
