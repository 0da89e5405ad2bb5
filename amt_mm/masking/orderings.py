"""Orderings: rank the patches of one image, the first to be masked first.

An ordering is called with the weights P_A (h, w) of the patches and with how
many will be masked. It returns a permutation (L,) of the row-major positions:
the first ``num_masked`` are masked, the last stay visible (Eq. 5-6). The grid
is one of cells where cells are masked as one. An ordering whose
``needs_saliency`` is False gets weights of one.
"""

from __future__ import annotations

import math

import numpy as np

from amt_mm.arguments import check_int, check_number
from amt_mm.registry import ORDERINGS

# keeps the order defined, and random, among patches of weight zero
EPS = 1e-8
# blocks drawn in vain before one is cut to the patches still missing
MAX_TRIES = 10
# the ranks of a 4x4 ordered dither: its last quarter is every second patch of
# every second row, its last half a checkerboard, its last rank one in 16
BAYER = np.array([[15, 7, 13, 5], [3, 11, 1, 9], [12, 4, 14, 6],
                  [0, 8, 2, 10]])


@ORDERINGS.register_module()
class RandomOrdering:
    """Uniformly random order: MAE's and SimMIM's own masking."""

    needs_saliency = False

    def __call__(self, weights: np.ndarray, num_masked: int) -> np.ndarray:
        return np.random.permutation(weights.size)


def sample_without_replacement(weights_L: np.ndarray) -> np.ndarray:
    """Draw all L patches one by one, each with odds given by its weight.

    Dividing unit exponentials by the weights and sorting has the distribution
    of successive weighted draws without replacement (Efraimidis and
    Spirakis, 2006), at the cost of one sort.
    """
    arrivals = np.random.standard_exponential(len(weights_L))
    return (arrivals / np.maximum(weights_L, EPS)).argsort()


@ORDERINGS.register_module()
class AttentionOrdering:
    """Weighted random order S(P_A): salient patches tend to come first.

    Source: AMT, section 3.2, Eq. 5. With the defaults it is the paper's.

    Args:
        temperature (float): Weights are raised to ``1 / temperature``: above
            1 nearer to uniform, below 1 nearer to a plain sort. Must be > 0.
            Defaults to 1.
        uniform_mix (float): Share of a uniform distribution mixed into the
            weights, in [0, 1). It bounds how often a patch of no saliency
            comes last. Defaults to 0.
    """

    needs_saliency = True

    def __init__(self,
                 temperature: float = 1.,
                 uniform_mix: float = 0.) -> None:
        self.temperature = check_number('temperature', temperature,
                                        '(0, inf)')
        self.uniform_mix = check_number('uniform_mix', uniform_mix, '[0, 1)')

    def __call__(self, weights: np.ndarray, num_masked: int) -> np.ndarray:
        return sample_without_replacement(
            self.probabilities(weights.ravel()))

    def probabilities(self, weights_L: np.ndarray) -> np.ndarray:
        """Return the odds (L,) of being drawn first, summing to 1.

        They are uniform where all weights are zero, or one is not finite.
        """
        if self.temperature != 1 and 0 < (top := weights_L.max()) < np.inf:
            # relative to the largest: other powers may all underflow
            weights_L = (weights_L / top)**(1 / self.temperature)
        total = weights_L.sum()
        if not 0 < total < np.inf:
            return np.full(len(weights_L), 1 / len(weights_L))
        odds = weights_L / total
        mix = self.uniform_mix
        return (1 - mix) * odds + mix / len(odds) if mix else odds


def sort_with_random_ties(keys_L: np.ndarray) -> np.ndarray:
    """Return the order of rising keys, equal keys in random order."""
    ties = np.random.random(keys_L.size)
    return np.lexsort((ties, keys_L))


@ORDERINGS.register_module()
class AttMaskHighOrdering:
    """The most salient patches first: AttMask-High.

    The map alone decides which patches are masked; only patches of equal
    weight come in random order. With the layout ``ShowHints`` it is
    AttMask-Hint. Source: `What to Hide from Your Students
    <https://arxiv.org/abs/2203.12719>`_ (ECCV 2022), section 3.2.
    """

    needs_saliency = True

    def __call__(self, weights: np.ndarray, num_masked: int) -> np.ndarray:
        return sort_with_random_ties(-weights.ravel())


@ORDERINGS.register_module()
class AttMaskLowOrdering:
    """The least salient patches first: AttMask-Low.

    Patches of equal weight come in random order. Source: `What to Hide from
    Your Students <https://arxiv.org/abs/2203.12719>`_, section 3.2.
    """

    needs_saliency = True

    def __call__(self, weights: np.ndarray, num_masked: int) -> np.ndarray:
        return sort_with_random_ties(weights.ravel())


@ORDERINGS.register_module()
class GridOrdering:
    """Patches on a regular grid last: grid-wise masking.

    With 75 % masked every second patch of every second row is visible, with
    50 % a checkerboard, with 15/16 every fourth of every fourth row; ratios in
    between add to the sparser grid at random places of the denser one. The
    grid is shifted at random for each image. Source: `MAE
    <https://arxiv.org/abs/2111.06377>`_, section 4.1 and figure 6, which has
    the 75 % alone; the ranks in between are Bayer's ordered dither.
    """

    needs_saliency = False

    def __call__(self, weights: np.ndarray, num_masked: int) -> np.ndarray:
        h, w = weights.shape
        pattern = np.roll(BAYER, np.random.randint(0, 4, 2), (0, 1))
        levels = np.tile(pattern, (h // 4 + 1, w // 4 + 1))[:h, :w]
        return sort_with_random_ties(levels.ravel())


@ORDERINGS.register_module()
class BlockOrdering:
    """Random rectangles first: the block-wise masking of BEiT.

    Blocks are drawn until they cover ``num_masked`` patches; the others follow
    in random order. The area of a block is uniform between ``min_patches`` and
    what is missing, its log aspect ratio is uniform, and a block that covers
    more than is missing is drawn again. BEiT ends with fewer patches where no
    block fits; here the last block is cut instead, so the count is exact.
    Source: `BEiT <https://arxiv.org/abs/2106.08254>`_, algorithm 1.

    Args:
        min_patches (int): Smallest area of a block, in patches (or cells).
            Defaults to 16.
        min_aspect (float): Smallest aspect ratio of a block, in (0, 1]; the
            largest is its inverse. Defaults to 0.3.
    """

    needs_saliency = False

    def __init__(self, min_patches: int = 16, min_aspect: float = 0.3) -> None:
        self.min_patches = check_int('min_patches', min_patches, 1)
        self.min_aspect = check_number('min_aspect', min_aspect, '(0, 1]')

    def __call__(self, weights: np.ndarray, num_masked: int) -> np.ndarray:
        positions = np.arange(weights.size).reshape(weights.shape)
        is_free = np.ones(weights.shape, bool)
        masked: list[int] = []
        while (missing := num_masked - len(masked)) > 0:
            new = self._draw_new(positions, is_free, missing)
            is_free.flat[new] = False
            masked.extend(new)
        others = np.random.permutation(positions[is_free])
        return np.concatenate([np.array(masked, others.dtype), others])

    def _draw_new(self, positions: np.ndarray, is_free: np.ndarray,
                  missing: int) -> np.ndarray:
        """Return 1 to ``missing`` free positions that a block covers."""
        tries = 0
        while True:
            block = self._draw_block(positions.shape, missing)
            new = positions[block][is_free[block]]
            tries += 1
            if len(new) and (len(new) <= missing or tries >= MAX_TRIES):
                return new[:missing]

    def _draw_block(self, grid: tuple[int, ...],
                    missing: int) -> tuple[slice, slice]:
        """Draw the rows and the columns of a block inside of the grid."""
        smallest = min(self.min_patches, missing)
        area = np.random.uniform(smallest, missing)
        log_aspect = math.log(self.min_aspect)
        aspect = math.exp(np.random.uniform(log_aspect, -log_aspect))
        sides = math.sqrt(area * aspect), math.sqrt(area / aspect)
        h, w = (min(max(round(side), 1), size)
                for side, size in zip(sides, grid, strict=True))
        top = np.random.randint(0, grid[0] - h + 1)
        left = np.random.randint(0, grid[1] - w + 1)
        return slice(top, top + h), slice(left, left + w)
