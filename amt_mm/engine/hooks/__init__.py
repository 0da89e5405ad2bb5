from .epoch_seed_hook import EpochSeedHook
from .mask_statistics_hook import MaskStatisticsHook
from .probe_hook import ProbeHook
from .saliency_update_hook import SaliencyUpdateHook
from .unreadable_images_hook import UnreadableImagesHook

__all__ = [
    'EpochSeedHook', 'MaskStatisticsHook', 'ProbeHook', 'SaliencyUpdateHook',
    'UnreadableImagesHook'
]
