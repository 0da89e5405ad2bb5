"""Where the model looks: maps, not masks."""

from .attention import cls_attention, reduce_heads, vit_saliency
from .entropy import entropies, mean_entropy
from .errors import SaliencyMapsLostError, SaliencyStoreError
from .geometry import compose, crop_map, flip_box
from .pixels import PIXEL_METHODS, centre_prior, pixel_saliency
from .store import SaliencyStore, fingerprint

__all__ = [
    'PIXEL_METHODS', 'SaliencyMapsLostError', 'SaliencyStore',
    'SaliencyStoreError', 'centre_prior', 'cls_attention', 'compose',
    'crop_map', 'entropies', 'fingerprint', 'flip_box', 'mean_entropy',
    'pixel_saliency', 'reduce_heads', 'vit_saliency'
]
