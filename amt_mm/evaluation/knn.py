"""Weighted k-nearest-neighbour classification of frozen features.

Shape letters: Q queries, N images of the bank, D width, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.evaluation import Accuracy
from torch import Tensor

from amt_mm.arguments import check_int, check_number

TOP_K = (1, 5)
QUERY_BLOCK, BANK_BLOCK = 1024, 16384


class Neighbours(NamedTuple):
    """The k nearest of the bank, nearest first."""

    similarity: Tensor  # cosine similarity (Q, k) float32
    ids: Tensor  # rows of the bank (Q, k) int64


def weighted_knn(queries: Tensor,
                 bank: Tensor,
                 labels: Tensor,
                 num_classes: int,
                 k: int = 20,
                 temperature: float = 0.07) -> Tensor:
    """Classify queries by the labels of their neighbours in a bank.

    Of features (Q, D) of queries and (N, D) of the bank with its classes (N,),
    int64, it returns scores (Q, C) float32, which sum to 1 over the classes;
    ``k`` neighbours vote, see :func:`vote`. Source: `Unsupervised Feature
    Learning via Non-Parametric Instance Discrimination
    <https://arxiv.org/abs/1805.01978>`_, section 3.4.
    """
    return vote(
        nearest(queries, bank, k), labels, num_classes, temperature)


@torch.no_grad()
def nearest(queries: Tensor,
            bank: Tensor,
            k: int,
            query_block: int = QUERY_BLOCK,
            bank_block: int = BANK_BLOCK) -> Neighbours:
    """Find the k nearest of the bank by cosine similarity, exactly.

    Only ``query_block * bank_block`` similarities are in memory at a time,
    on the device of the queries; the bank may be elsewhere and in half
    precision. Which of two images of equal similarity takes the k-th place
    is not defined.

    Raises:
        ValueError: If k is larger than the bank, or a feature is not finite.
    """
    check_int('k', k, 1)
    if k > len(bank):
        raise ValueError(f'k must be at most the {len(bank)} images of the '
                         f'bank, got {k}.')
    check_finite('queries', queries)
    check_finite('bank', bank)
    found = [
        _nearest_of_block(block, bank.split(bank_block), k)
        for block in queries.split(query_block)
    ]
    return Neighbours(*map(torch.cat, zip(*found, strict=True)))


def _nearest_of_block(queries: Tensor, banks: tuple[Tensor, ...],
                      k: int) -> Neighbours:
    """Merge the nearest of each block of the bank with the best so far."""
    queries = F.normalize(queries.float())
    best = Neighbours(
        queries.new_empty(len(queries), 0),
        queries.new_empty(len(queries), 0, dtype=torch.long))
    start = 0
    for bank in banks:
        bank = F.normalize(bank.to(queries))
        similarity, ids = (queries @ bank.T).topk(min(k, len(bank)))
        similarity = torch.cat([best.similarity, similarity], 1)
        ids = torch.cat([best.ids, ids + start], 1)
        similarity, order = similarity.topk(min(k, similarity.shape[1]))
        best = Neighbours(similarity, ids.gather(1, order))
        start += len(bank)
    return best


def vote(neighbours: Neighbours,
         labels: Tensor,
         num_classes: int,
         temperature: float = 0.07) -> Tensor:
    """Let neighbours vote for their classes with weight exp(similarity / T).

    ``labels`` are the classes (N,) of the whole bank, and T > 0 is the
    temperature. Returned are scores (Q, C), which sum to 1 over the classes.
    """
    check_number('temperature', temperature, '(0, inf)')
    # a softmax is the same weights up to a factor, and never overflows
    weights = (neighbours.similarity / temperature).softmax(1)
    classes = labels.to(weights.device)[neighbours.ids]
    scores = weights.new_zeros(len(weights), num_classes)
    return scores.scatter_add_(1, classes, weights)


def top_accuracies(scores: Tensor, labels: Tensor) -> dict[int, float]:
    """Return the top-1 and top-5 accuracy of scores (Q, C) in percent.

    Top-5 is left out where there are fewer than five classes. A class
    without any score is no prediction.
    """
    top_k = [k for k in TOP_K if k <= scores.shape[1]]
    found = Accuracy.calculate(scores, labels.to(scores.device), top_k)
    return {k: float(row[0]) for k, row in zip(top_k, found, strict=True)}


def count_not_finite(features: Tensor) -> int:
    """Return how many rows (N, D) hold a NaN or an infinity."""
    # a sum is not finite if one of its terms is not
    return sum(
        int((~rows.sum(1, dtype=torch.float64).isfinite()).sum())
        for rows in features.split(BANK_BLOCK))


def check_finite(name: str, features: Tensor) -> None:
    """Raise ValueError if some features (N, D) are NaN or infinite."""
    if num_bad := count_not_finite(features):
        raise ValueError(f'{name} must be finite, got {num_bad} of '
                         f'{len(features)} rows that are not.')
