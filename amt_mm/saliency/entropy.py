"""How evenly saliency is spread over an image."""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 14


def mean_entropy(maps: np.ndarray) -> float:
    """Return the mean entropy of maps (N, h, w): 1 uniform, 0 of one cell."""
    if not len(maps):
        raise ValueError(f'maps must hold at least one, got {maps.shape}.')
    chunks = [entropies(maps[start:start + CHUNK])
              for start in range(0, len(maps), CHUNK)]
    return float(np.concatenate(chunks).mean())


def entropies(maps: np.ndarray) -> np.ndarray:
    """Return the entropy (N,) of each map, see :func:`mean_entropy`."""
    weights = maps.reshape(len(maps), -1).astype(np.float32)
    num_cells = weights.shape[1]
    if num_cells == 1:
        return np.ones(len(maps), np.float32)
    weights[weights.sum(1) == 0] = 1
    weights /= weights.sum(1, keepdims=True)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return -(weights * logs).sum(1) / np.log(num_cells)
