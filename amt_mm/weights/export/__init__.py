"""WHERE weights go: one file for each library that a checkpoint is for."""
from .checkpoint import Checkpoint, open_checkpoint
from .plain_vit import PlainViT
from .to_hf import to_hf
from .to_mmpretrain import to_mmpretrain
from .to_safetensors import to_safetensors
from .to_timm import to_timm

__all__ = [
    'Checkpoint', 'PlainViT', 'open_checkpoint', 'to_hf', 'to_mmpretrain',
    'to_safetensors', 'to_timm'
]
