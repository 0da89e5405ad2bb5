"""Measures of what a pre-trained model learned."""

from .feature_file import readable_features, write_features
from .features import (
    class_token,
    class_token_and_mean,
    draw_subsets,
    extract_features,
    iterate_features,
    labels_of,
    mean_of_patches,
    patch_map,
)
from .knn import (
    Neighbours,
    count_not_finite,
    nearest,
    top_accuracies,
    vote,
    weighted_knn,
)
from .linear_probe import linear_probe
from .localization import (
    Estimate,
    Localization,
    average_precision,
    box_mask,
    centre_prior,
    measure_localization,
    pointing_accuracy,
)
from .object_roles import object_roles
from .probe import QUERIES_OF, Labelled, probe_accuracies
from .reconstruction import Reconstruction, measure_reconstruction
from .saliency_of_images import (
    localize,
    masks_from_boxes,
    masks_from_folder,
    saliency_of_images,
)

__all__ = [
    'QUERIES_OF', 'Estimate', 'Labelled', 'Localization', 'Neighbours',
    'Reconstruction',
    'average_precision', 'box_mask', 'centre_prior', 'class_token',
    'class_token_and_mean', 'count_not_finite', 'draw_subsets',
    'extract_features', 'iterate_features', 'labels_of', 'linear_probe',
    'localize', 'masks_from_boxes', 'masks_from_folder', 'mean_of_patches',
    'measure_localization', 'measure_reconstruction', 'nearest',
    'object_roles', 'patch_map',
    'pointing_accuracy', 'probe_accuracies', 'readable_features',
    'saliency_of_images', 'top_accuracies', 'vote', 'weighted_knn',
    'write_features'
]
