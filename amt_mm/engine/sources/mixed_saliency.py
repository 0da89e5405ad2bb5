"""Several sources of saliency in one.

Shape letters: B batch, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import tee
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch import Tensor

from amt_mm.arguments import check_choice, check_number
from amt_mm.masking.schedules import Scheduled
from amt_mm.registry import SALIENCY_SOURCES

from .model_saliency import ModelSaliency, SaliencySource

COMBINATIONS = 'product', 'mixture'


@SALIENCY_SOURCES.register_module()
class MixedSaliency(SaliencySource):
    """The product or the mixture of the maps of other sources.

    Each map counts relative to its greatest value. A schedule, such as
    ``dict(type='amt_mm.LinearSchedule', start=1., end=0., until=100)``, may
    stand for a weight; it has the value of the epoch in which the maps are
    made.

    Args:
        sources (Sequence[dict]): Configs of two or more sources, of which at
            most one uses the model in training.
        weights (Sequence[float | dict], optional): One for each source, >= 0:
            exponents in a product, shares in a mixture. Defaults to ones.
        combine (str): ``'product'`` or ``'mixture'``.
            Defaults to ``'product'``.
    """

    def __init__(self,
                 sources: Sequence[dict],
                 weights: Sequence[float | dict] | None = None,
                 combine: str = 'product') -> None:
        if not isinstance(sources, (list, tuple)) or len(sources) < 2:
            raise ValueError('sources must be two configs or more, got '
                             f'{sources!r}.')
        self.sources = [SALIENCY_SOURCES.build(cfg) for cfg in sources]
        if sum(isinstance(s, ModelSaliency) and not s.is_static
               for s in self.sources) > 1:
            raise ValueError(
                'at most one of the sources may use the model in training, '
                f'got {[type(s).__name__ for s in self.sources]}.')
        weights = [1.] * len(sources) if weights is None else weights
        if not isinstance(weights, (list, tuple)) or \
                len(weights) != len(sources):
            raise ValueError(f'weights must be {len(sources)}, one for each '
                             f'of the sources, got {weights!r}.')
        self.scheduled = Scheduled(
            {str(number): weight for number, weight in enumerate(weights)})
        for epoch in self.scheduled.boundary_epochs | {0}:
            self.weights_at(epoch)
        self.combine = check_choice('combine', combine, COMBINATIONS)
        self.is_static = self.scheduled.is_constant and all(
            source.is_static for source in self.sources)
        self.knows_any_image = all(
            source.knows_any_image for source in self.sources)

    def weights_at(self, epoch: int) -> list[float]:
        """Return the weight of each source in a 0-based epoch."""
        return [check_number('weights', weight, '[0, inf)')
                for weight in self.scheduled.at(epoch).values()]

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Connect each source."""
        self.runner = runner
        for source in self.sources:
            source.setup(runner, dataset, grid)

    @property
    def prepare(self) -> Callable[[dict], list]:  # type: ignore[override]
        """What each source makes of a sample, in a worker."""
        # of the sources' functions alone: a run cannot go to a worker
        return partial(_prepare, [source.prepare for source in self.sources])

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the maps of all sources, combined."""
        weights = self.weights_at(self.runner.epoch)
        found = [source.maps(_inputs_of(number, batches)) for number,
                 (source, batches) in enumerate(zip(
                     self.sources, tee(loader, len(self.sources)),
                     strict=True))]
        # strict: so that each comes to its end
        for parts in zip(*found, strict=True):
            device = next((saliency.device for _, saliency in parts
                           if not saliency.is_cpu), torch.device('cpu'))
            scaled = [_scale(saliency.to(device).float())
                      for _, saliency in parts]
            if self.combine == 'product':
                maps = torch.stack([
                    m**w for m, w in zip(scaled, weights, strict=True)
                ]).prod(0)
            else:
                maps = torch.stack([
                    m * w for m, w in zip(scaled, weights, strict=True)
                ]).sum(0) / max(sum(weights), 1e-6)
            yield parts[0][0], _scale(maps)

    def forward_for_flops(self, model: Any, images: Tensor) -> None:
        """Run the forward passes of each source."""
        for source in self.sources:
            source.forward_for_flops(model, images)


def _prepare(parts: list[Callable], results: dict) -> list[Tensor]:
    return [prepare(results) for prepare in parts]


def _inputs_of(number: int, batches: Iterable[dict]) -> Iterator[dict]:
    """Yield the batches as one of the sources prepared them."""
    for batch in batches:
        yield dict(batch, inputs=batch['inputs'][number])


def _scale(maps: Tensor) -> Tensor:
    """Divide maps (B, h, w) by their greatest value."""
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
