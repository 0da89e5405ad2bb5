"""How the images were normalised before the encoder saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..config_text import part


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, on the scale of 0 to 255.

    The default is ImageNet's.
    """

    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    channels: str = 'RGB'

    def scaled(self) -> tuple[list[float], list[float]]:
        """Return both on the scale of 0 to 1."""
        mean, std = ([round(value / 255, 6) for value in values]
                     for values in (self.mean, self.std))
        return mean, std


def find_normalization(state: dict[str, Tensor],
                       config: dict[str, Any]) -> Normalization:
    """Take it from the tensors, else from the config, else ImageNet's."""
    own = part(config, 'data_preprocessor') or part(config, 'model',
                                                    'data_preprocessor')
    order = 'RGB' if not own or any(
        own.get(key) for key in ('to_rgb', 'bgr_to_rgb')) else 'BGR'
    prefix = 'data_preprocessor.'
    if f'{prefix}mean' in state and f'{prefix}std' in state:
        mean, std = (state[prefix + name].flatten().tolist()
                     for name in ('mean', 'std'))
    elif own.get('mean') and own.get('std'):
        mean, std = own['mean'], own['std']
    else:
        return Normalization(channels=order)
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError('mean and std of its data_preprocessor must be as '
                         f'many, and std > 0, got {mean} and {std}.')
    return Normalization(tuple(mean), tuple(std), order)
