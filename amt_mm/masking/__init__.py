"""What each token is: visible, masked or thrown. Arrays in, arrays out."""

from .layouts import ShowHints, ThrowLow, ThrowMiddle, ThrowRandom
from .orderings import (
    AttentionOrdering,
    AttMaskHighOrdering,
    AttMaskLowOrdering,
    BlockOrdering,
    GridOrdering,
    RandomOrdering,
)
from .plan import (
    MASKED,
    ROLES,
    THROWN,
    UNCOUNTED,
    UNPREDICTED,
    VISIBLE,
    MaskPlan,
    Strategy,
    TokenCounts,
    count_tokens,
    count_unpredicted,
)
from .schedules import LinearSchedule

__all__ = [
    'AttMaskHighOrdering', 'AttMaskLowOrdering', 'AttentionOrdering',
    'BlockOrdering', 'GridOrdering', 'LinearSchedule', 'MASKED', 'MaskPlan',
    'ROLES', 'RandomOrdering', 'ShowHints', 'Strategy', 'THROWN', 'ThrowLow',
    'ThrowMiddle', 'ThrowRandom', 'TokenCounts', 'UNCOUNTED', 'UNPREDICTED',
    'VISIBLE', 'count_tokens', 'count_unpredicted'
]
