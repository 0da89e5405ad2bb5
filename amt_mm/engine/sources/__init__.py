"""Where saliency maps come from."""

from .mixed_saliency import MixedSaliency
from .model_saliency import (
    CornerSaliency,
    FeatureSaliency,
    ModelSaliency,
    SaliencySource,
    TeacherSaliency,
)
from .worker_saliency import (
    BoxSaliency,
    CentreSaliency,
    FolderSaliency,
    PixelSaliency,
    RandomSaliency,
)

__all__ = [
    'BoxSaliency', 'CentreSaliency', 'CornerSaliency', 'FeatureSaliency',
    'FolderSaliency', 'MixedSaliency', 'ModelSaliency', 'PixelSaliency',
    'RandomSaliency', 'SaliencySource', 'TeacherSaliency'
]
