"""Saliency from the model in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner, autocast
from mmpretrain.utils import get_ori_model
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.registry import SALIENCY_SOURCES

from .saliency_source import SaliencySource


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
