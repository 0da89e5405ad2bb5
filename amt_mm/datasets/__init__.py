from .collate import PlannedSamples, collate_plans
from .image_folder import ImageFolder
from .repeat_sampler import RepeatSampler
from .stl10 import STL10
from .tiny_imagenet import TinyImageNet
from .transforms import *  # noqa: F401,F403

__all__ = [
    'STL10', 'ImageFolder', 'PlannedSamples', 'RepeatSampler', 'TinyImageNet',
    'collate_plans']
