"""How well frozen features tell classes apart.

Shape letters: N images, F features of an image, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .knn import top_accuracies, weighted_knn
from .linear_probe import linear_probe

QUERIES_OF = 5  # one in so many images is a query, the others are the bank
# names of the features: the class token and the mean of the patch tokens
POOLS = '', '_mean'


@dataclass(frozen=True)
class Labelled:
    """Features (N, F, D) of images, F at most 2, and their classes (N,)."""

    features: Tensor
    labels: Tensor

    def __getitem__(self, index: Tensor) -> Labelled:
        """Return some of the images."""
        return Labelled(self.features[index], self.labels[index])


def probe_accuracies(queries: Labelled, bank: Labelled, k: int = 20,
                     temperature: float = 0.07,
                     linear: bool = True) -> dict[str, float]:
    """Return top-1 accuracies in percent.

    Returns:
        dict: ``knn`` and ``linear`` of the class token, ``knn_mean`` and
        ``linear_mean`` of the mean of the patch tokens, where there is one.
    """
    num_classes = 1 + int(max(queries.labels.max(), bank.labels.max()))
    found = {}
    for number, pool in zip(range(bank.features.shape[1]), POOLS,
                            strict=False):
        known = (queries.features[:, number], bank.features[:, number],
                 bank.labels, num_classes)
        scores = {f'knn{pool}': weighted_knn(*known, k, temperature)}
        if linear:
            scores[f'linear{pool}'] = linear_probe(*known)
        found.update({name: top_accuracies(score, queries.labels)[1]
                      for name, score in scores.items()})
    return found
