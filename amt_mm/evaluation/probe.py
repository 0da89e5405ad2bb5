"""How well frozen features tell classes apart.

Shape letters: Q queries, N images of the bank, F features of an image,
D width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from amt_mm.arguments import check_int

from .knn import check_finite, top_accuracies, weighted_knn

EPS = 1e-6  # of MAE's batch normalisation before its linear probe
QUERIES_OF = 5  # one in so many images is a query, the others are the bank
# names of the features: the class token and the mean of the patch tokens
POOLS = '', '_mean'


@torch.enable_grad()
def linear_probe(queries: Tensor,
                 bank: Tensor,
                 labels: Tensor,
                 num_classes: int,
                 num_iters: int = 100,
                 weight_decay: float = 1e-2) -> Tensor:
    """Fit a linear classifier to a bank and score queries with it.

    Batch normalisation without parameters, as in MAE's linear probe, its
    statistics those of the whole bank; then logistic regression, fitted to the
    bank at once by L-BFGS from zero, in ``num_iters`` steps at most;
    ``weight_decay`` is the factor of half the squared norm of the weights. It
    draws no random number, and what it finds depends on the features alone:
    (Q, D) of queries and (N, D) of the bank with its classes (N,), int64.
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
