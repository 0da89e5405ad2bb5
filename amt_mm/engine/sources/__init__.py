"""Where saliency maps come from."""

from .control_saliency import (
    BoxSaliency,
    CentreSaliency,
    CornerSaliency,
    RandomSaliency,
)
from .mixed_saliency import MixedSaliency
from .model_saliency import FeatureSaliency, ModelSaliency
from .saliency_source import SaliencySource
from .teacher_saliency import TeacherSaliency
from .worker_saliency import FolderSaliency, PixelSaliency

__all__ = [
    'BoxSaliency', 'CentreSaliency', 'CornerSaliency', 'FeatureSaliency',
    'FolderSaliency', 'MixedSaliency', 'ModelSaliency', 'PixelSaliency',
    'RandomSaliency', 'SaliencySource', 'TeacherSaliency'
]
