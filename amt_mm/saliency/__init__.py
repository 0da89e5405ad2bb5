"""Saliency maps: from a model or from pixels, cropped, and stored."""

from .attention import cls_attention, reduce_heads, vit_saliency
from .entropy import entropies, mean_entropy
from .geometry import compose, crop_map, flip_box
from .pixels import PIXEL_METHODS, centre_prior, pixel_saliency
from .store import (
    SaliencyMapsLostError,
    SaliencyStore,
    SaliencyStoreError,
    fingerprint,
)

__all__ = [
    'PIXEL_METHODS', 'SaliencyMapsLostError', 'SaliencyStore',
    'SaliencyStoreError', 'centre_prior', 'cls_attention', 'compose',
    'crop_map', 'entropies', 'fingerprint', 'flip_box', 'mean_entropy',
    'pixel_saliency', 'reduce_heads', 'vit_saliency'
]
