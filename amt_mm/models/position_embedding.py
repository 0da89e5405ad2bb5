"""The fixed position embedding of MAE, for any grid."""

from __future__ import annotations

from mmpretrain.models.utils import build_2d_sincos_position_embedding
from torch import Tensor

# sine and cosine, of the row and of the column
NUM_WAVES = 4


def sincos_position_embedding(grid: tuple[int, int], width: int) -> Tensor:
    """Return mmpretrain's fixed embedding (1, 1 + L, D) for any grid."""
    h, w = grid
    # it lists the tokens column by column: transposed, row by row
    return build_2d_sincos_position_embedding((w, h), width, cls_token=True)
