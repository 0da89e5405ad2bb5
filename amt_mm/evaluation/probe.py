"""How well frozen features tell classes apart.

Shape letters: Q queries, N images of the bank, F features of an image,
D width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.evaluation import Accuracy
from torch import Tensor

from amt_mm.arguments import check_int, check_number

TOP_K = (1, 5)
QUERY_BLOCK, BANK_BLOCK = 1024, 16384
EPS = 1e-6  # of MAE's batch normalisation before its linear probe
QUERIES_OF = 5  # one in so many images is a query, the others are the bank
# names of the features: the class token and the mean of the patch tokens
POOLS = '', '_mean'


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
    """Return scores (Q, C) of queries by the k nearest of a bank.

    Source: `Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination <https://arxiv.org/abs/1805.01978>`_, section 3.4.
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

    Only ``query_block * bank_block`` similarities are in memory at a time, on
    the device of the queries; the bank may be in half precision.
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
    """Let neighbours vote with weight exp(similarity / T): scores (Q, C)."""
    check_number('temperature', temperature, '(0, inf)')
    # a softmax is the same weights up to a factor, and never overflows
    weights = (neighbours.similarity / temperature).softmax(1)
    classes = labels.to(weights.device)[neighbours.ids]
    scores = weights.new_zeros(len(weights), num_classes)
    return scores.scatter_add_(1, classes, weights)


def top_accuracies(scores: Tensor, labels: Tensor) -> dict[int, float]:
    """Return top-1, and of 5 classes top-5, accuracy in percent."""
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


@torch.enable_grad()
def linear_probe(queries: Tensor,
                 bank: Tensor,
                 labels: Tensor,
                 num_classes: int,
                 num_iters: int = 100,
                 weight_decay: float = 1e-2) -> Tensor:
    """Fit a linear classifier to a bank and score queries with it.

    Batch normalisation without parameters, as in MAE's linear probe, by the
    whole bank; then logistic regression by L-BFGS from zero, with half of
    ``weight_decay`` times the squared norm. It draws no random number.
    Returned are scores (Q, C) float32, which sum to 1 over the classes.
    """
    check_int('num_iters', num_iters, 1)
    check_finite('queries', queries)
    check_finite('bank', bank)
    queries, bank = queries.detach().float(), bank.detach().float()
    labels = labels.to(bank.device)
    var, mean = torch.var_mean(bank, 0, correction=0)
    bank, queries = (
        F.batch_norm(x, mean, var, eps=EPS) for x in (bank, queries))
    weight = bank.new_zeros(num_classes, bank.shape[1], requires_grad=True)
    bias = bank.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=num_iters, line_search_fn='strong_wolfe')

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(bank, weight, bias), labels)
        loss = loss + 0.5 * weight_decay * weight.square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    with torch.no_grad():
        return F.linear(queries, weight, bias).softmax(1)


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

    They are ``knn`` and ``linear`` of the class token, ``knn_mean`` and
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
