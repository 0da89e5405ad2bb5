"""Saliency from the model in training.

Shape letters: B batch, (h, w) token grid, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner, autocast
from mmpretrain.utils import get_ori_model
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.arguments import check_choice, check_int, check_number
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.attention import FEATURE_METHODS, vit_tokens
from amt_mm.saliency.pixels import weigh_centre

from .saliency_source import SaliencySource

# enough images for the mean token of each position
NUM_IMAGES = 256


def unwrap_model(runner: Runner) -> Any:
    """Return the model inside of its distributed wrapper."""
    return get_ori_model(runner.model)


def precision_of(runner: Runner) -> dict[str, Any]:
    """Return what mmengine's ``autocast`` takes for the run's precision."""
    wrapper = runner.optim_wrapper
    return dict(
        enabled=isinstance(wrapper, AmpOptimWrapper),
        dtype=getattr(wrapper, 'cast_dtype', None))


@contextmanager
def full_params(model: Any) -> Iterator[None]:
    """Gather the weights of a model that is sharded over the processes.

    Meanwhile the modules that an ``auto_wrap_policy`` wrapped replace their
    wrappers, which cannot run while the weights are gathered.
    """
    if not isinstance(model, FullyShardedDataParallel):
        yield
        return
    wrapped = [(parent._modules, name, child)
               for parent in model.module.modules()
               for name, child in parent.named_children()
               if isinstance(child, FullyShardedDataParallel)]
    with FullyShardedDataParallel.summon_full_params(model, writeback=False):
        for children, name, child in wrapped:
            children[name] = child.module
        try:
            yield
        finally:
            for children, name, child in wrapped:
                children[name] = child


@SALIENCY_SOURCES.register_module()
class ModelSaliency(SaliencySource):
    """The maps of the model itself, in eval mode (the paper)."""

    is_static = False

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Get the model of the run."""
        self.model = unwrap_model(runner)
        self.wrapped = runner.model
        self.precision = precision_of(runner)
        if not hasattr(self.model, 'saliency'):
            raise ValueError(
                'model must have a method saliency(inputs), as amt_mm.AMTMAE '
                f'has; got {type(self.model).__name__}.')

    @torch.no_grad()
    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the saliency of the model with its present weights."""
        model, was_training = self.model, self.model.training
        model.eval()
        with full_params(self.wrapped):
            for batch in loader:
                data = dict(inputs=batch['inputs'], data_samples=None)
                inputs = model.data_preprocessor(data)['inputs']
                with autocast(**self.precision):
                    found = self.saliency_of(model, inputs)
                yield batch['sample_idx'], found
        model.train(was_training)

    def saliency_of(self, model: Any, images: Tensor) -> Tensor:
        """Return the maps (B, h, w) of images (B, C, H, W)."""
        return model.saliency(images)

    def forward_for_flops(self, model: Any, images: Tensor) -> None:
        """Run the forward pass of the maps."""
        self.saliency_of(model, images)


@SALIENCY_SOURCES.register_module()
class FeatureSaliency(ModelSaliency):
    """How unlike the border of the image the tokens of the model are.

    The mean token of each position, over the first ``NUM_IMAGES`` images of
    each process, is subtracted first: it depends on the position alone.

    Args:
        block (int): The block whose tokens are compared, from the end if
            negative. Defaults to -1.
        method (str): ``'geodesic'``, the distance to the border from token to
            token; or ``'contrast'``, one minus the cosine to the border's
            nearest tokens. Defaults to ``'geodesic'``.
        centre_weight (float): Exponent of a weak centre prior; 0 leaves it
            out. Defaults to 1.
    """

    def __init__(self,
                 block: int = -1,
                 method: str = 'geodesic',
                 centre_weight: float = 1.) -> None:
        self.block = check_int('block', block, -10**3, 10**3)
        self.method = check_choice('method', method, FEATURE_METHODS)
        self.centre_weight = check_number('centre_weight', centre_weight,
                                          '[0, inf)')

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Get the model of the run, and check the block."""
        super().setup(runner, dataset, grid)
        depth = len(self.model.backbone.layers)
        check_int('block of FeatureSaliency', self.block, -depth, depth - 1)

    def saliency_of(self, model: Any, images: Tensor) -> Tensor:
        """Return the tokens (B, h, w, D) of images (B, C, H, W)."""
        return vit_tokens(model.backbone, images, self.block)

    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield how unlike the border the tokens are, with present weights."""
        batches = super().maps(loader)
        first: list[tuple[Tensor, Tensor]] = []
        while sum(len(index) for index, _ in first) < NUM_IMAGES:
            batch = next(batches, None)
            if batch is None:
                break
            first.append(batch)
        if not first:
            return
        mean = torch.cat([tokens.float() for _, tokens in first]).mean(0)
        for index, tokens in chain(first, batches):
            found = FEATURE_METHODS[self.method](tokens.float() - mean)
            saliency = weigh_centre(found, self.centre_weight)
            yield index, torch.from_numpy(saliency).to(tokens.device)
