"""WHERE weights go: what a checkpoint is, and files for other libraries."""
from .describe import Checkpoint, Normalization, PlainViT, open_checkpoint
from .onnx_file import to_onnx
from .write import (
    TARGETS,
    Target,
    refuse_to_overwrite,
    timm_model,
    to_hf,
    to_mmpretrain,
    to_safetensors,
    to_timm,
)

__all__ = [
    'TARGETS', 'Checkpoint', 'Normalization', 'PlainViT', 'Target',
    'open_checkpoint', 'refuse_to_overwrite', 'timm_model', 'to_hf',
    'to_mmpretrain', 'to_onnx', 'to_safetensors', 'to_timm'
]
