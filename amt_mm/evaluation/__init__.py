"""Measures of what a pre-trained model learned."""

from .checkup import Checkup, PlannedImages, examine
from .feature_statistics import feature_spread, rank_me
from .features import (
    POOLS,
    class_token,
    class_token_and_mean,
    draw_subsets,
    extract_features,
    gather_in_order,
    iterate_features,
    labels_of,
    mean_of_patches,
    patch_map,
    pool_of,
    readable_features,
    write_features,
)
from .localization import (
    Estimate,
    Localization,
    average_precision,
    box_mask,
    centre_prior,
    localize,
    masks_from_boxes,
    masks_from_folder,
    measure_localization,
    object_roles,
    pointing_accuracy,
    saliency_of_images,
)
from .probe import (
    QUERIES_OF,
    Labelled,
    Neighbours,
    count_not_finite,
    linear_probe,
    nearest,
    probe_accuracies,
    top_accuracies,
    vote,
    weighted_knn,
)
from .reconstruction import Reconstruction, measure_reconstruction
from .verdict import Verdict, judge

__all__ = [
    'POOLS', 'QUERIES_OF', 'Checkup', 'Estimate', 'Labelled',
    'Localization', 'Neighbours', 'PlannedImages', 'Reconstruction',
    'Verdict', 'average_precision', 'box_mask', 'centre_prior',
    'class_token', 'class_token_and_mean', 'count_not_finite',
    'draw_subsets', 'examine', 'extract_features', 'feature_spread',
    'gather_in_order', 'iterate_features', 'judge', 'labels_of',
    'linear_probe', 'localize', 'masks_from_boxes', 'masks_from_folder',
    'mean_of_patches', 'measure_localization', 'measure_reconstruction',
    'nearest', 'object_roles', 'patch_map', 'pointing_accuracy', 'pool_of',
    'probe_accuracies', 'rank_me', 'readable_features',
    'saliency_of_images', 'top_accuracies', 'vote', 'weighted_knn',
    'write_features'
]
