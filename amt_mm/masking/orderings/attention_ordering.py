"""Rank patches by draws that their saliency weights."""

from __future__ import annotations

import numpy as np

from amt_mm.arguments import check_number
from amt_mm.registry import TASK_UTILS

# keeps the order defined, and random, among patches of weight zero
EPS = 1e-8


def sample_without_replacement(weights_L: np.ndarray) -> np.ndarray:
    """Draw all L patches one by one, each with odds given by its weight.

    Dividing unit exponentials by the weights and sorting has the distribution
    of successive weighted draws without replacement (Efraimidis and
    Spirakis, 2006), at the cost of one sort.
    """
    arrivals = np.random.standard_exponential(len(weights_L))
    return (arrivals / np.maximum(weights_L, EPS)).argsort()


@TASK_UTILS.register_module()
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
        """Return the L patches in the order of the weighted draws."""
        return sample_without_replacement(
            self.probabilities(weights.ravel()))

    def probabilities(self, weights_L: np.ndarray) -> np.ndarray:
        """Return the odds (L,) of being drawn first, summing to 1."""
        if self.temperature != 1:
            weights_L = self._tempered(weights_L)
        total = weights_L.sum()
        if not 0 < total < np.inf:  # such a map says nothing: uniform
            return np.full(len(weights_L), 1 / len(weights_L))
        odds = weights_L / total
        mix = self.uniform_mix
        return (1 - mix) * odds + mix / len(odds) if mix else odds

    def _tempered(self, weights_L: np.ndarray) -> np.ndarray:
        top = weights_L.max()
        if not 0 < top < np.inf:
            return weights_L
        # of shares of the largest, as the powers of others may vanish
        return (weights_L / top)**(1 / self.temperature)
