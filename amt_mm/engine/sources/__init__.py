"""Where saliency maps come from."""

from .control_saliency import (
    BoxSaliency,
    CentreSaliency,
    CornerSaliency,
    RandomSaliency,
)
from .folder_saliency import FolderSaliency
from .mixed_saliency import MixedSaliency
from .model_saliency import FeatureSaliency, ModelSaliency
from .pixel_saliency import PixelSaliency
from .saliency_source import SaliencySource
from .teacher_saliency import TeacherSaliency

__all__ = [
    'BoxSaliency', 'CentreSaliency', 'CornerSaliency', 'FeatureSaliency',
    'FolderSaliency', 'MixedSaliency', 'ModelSaliency', 'PixelSaliency',
    'RandomSaliency', 'SaliencySource', 'TeacherSaliency'
]
