from amt_mm.masking.plan import PlannedSamples, collate_plans

from .image_folder import ImageFolder
from .labelled_sets import STL10, TinyImageNet
from .repeat_sampler import RepeatSampler
from .transforms import *  # noqa: F401,F403

__all__ = [
    'STL10', 'ImageFolder', 'PlannedSamples', 'RepeatSampler', 'TinyImageNet',
    'collate_plans']
