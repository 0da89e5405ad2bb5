"""Where saliency maps come from."""

from .control_saliency import (
    BoxSaliency,
    CentreSaliency,
    CornerSaliency,
    RandomSaliency,
)
from .folder_saliency import FolderSaliency
from .model_saliency import ModelSaliency
from .pixel_saliency import PixelSaliency
from .saliency_source import SaliencySource, build_source
from .teacher_saliency import TeacherSaliency

__all__ = [
    'BoxSaliency', 'CentreSaliency', 'CornerSaliency', 'FolderSaliency',
    'ModelSaliency', 'PixelSaliency', 'RandomSaliency', 'SaliencySource',
    'TeacherSaliency', 'build_source'
]
