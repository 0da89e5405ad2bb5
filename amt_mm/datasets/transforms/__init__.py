from .amt_mask_generator import AMTMaskGenerator, SeedSample
from .load_array import LoadArray
from .load_image import LoadImage, UnreadableImageError
from .load_resized_crop import LoadResizedCrop
from .random_resized_crop_with_box import RandomResizedCropWithBox

__all__ = [
    'AMTMaskGenerator', 'LoadArray', 'LoadImage', 'LoadResizedCrop',
    'RandomResizedCropWithBox', 'SeedSample', 'UnreadableImageError'
]
