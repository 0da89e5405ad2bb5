from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkup_hook import CheckupHook
from .epoch_seed_hook import EpochSeedHook
from .label_check_hook import LabelCheckHook
from .localization_hook import LocalizationHook
from .mask_statistics_hook import MaskStatisticsHook
from .non_finite_hook import NonFiniteHook
from .probe_hook import ProbeHook
from .saliency_update_hook import SaliencyUpdateHook
from .unreadable_images_hook import UnreadableImagesHook
from .visualization_hook import AMTVisualizationHook

__all__ = [
    'AMTVisualizationHook', 'AtomicCheckpointHook', 'CheckupHook',
    'EpochSeedHook', 'LabelCheckHook', 'LocalizationHook',
    'MaskStatisticsHook', 'NonFiniteHook', 'ProbeHook', 'SaliencyUpdateHook',
    'UnreadableImagesHook'
]
