"""The libraries that an encoder can be written for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .describe import Checkpoint
from .onnx_file import to_onnx
from .write import to_hf, to_mmpretrain, to_safetensors, to_timm


class Target(NamedTuple):
    """How a name beside the checkpoint ends, and what writes to a path.

    The latter returns how to load what it wrote.
    """

    ending: str
    write: Callable[[Checkpoint, Path], str]


TARGETS = {
    'timm': Target('_timm.safetensors', to_timm),
    'hf': Target('_hf', to_hf),
    'mmpretrain': Target('_mmpretrain.pth', to_mmpretrain),
    'safetensors': Target('_encoder.safetensors', to_safetensors),
    'onnx': Target('.onnx', to_onnx),
}
