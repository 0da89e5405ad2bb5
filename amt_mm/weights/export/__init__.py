"""WHERE weights go: what a checkpoint is, and files for other libraries."""
from .describe import Checkpoint, Normalization, PlainViT, open_checkpoint
from .write import (
    refuse_to_overwrite,
    timm_model,
    to_hf,
    to_mmpretrain,
    to_safetensors,
    to_timm,
)

__all__ = [
    'Checkpoint', 'Normalization', 'PlainViT', 'open_checkpoint',
    'refuse_to_overwrite', 'timm_model', 'to_hf', 'to_mmpretrain',
    'to_safetensors', 'to_timm'
]
