"""Saliency from a frozen, already trained ViT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import MODELS
from mmengine.runner import Runner, autocast
from mmpretrain.models import VisionTransformer
from torch import Tensor

from amt_mm.arguments import (
    check_choice,
    check_config,
    check_str,
    optional,
)
from amt_mm.registry import SALIENCY_SOURCES
from amt_mm.saliency.attention import HEAD_REDUCTIONS, vit_saliency
from amt_mm.weights import load_encoder

from .model_saliency import precision_of, unwrap_model
from .saliency_source import SaliencySource


@SALIENCY_SOURCES.register_module()
class TeacherSaliency(SaliencySource):
    """The maps of a trained ViT, made once.

    A teacher that decides what to mask is the idea of `SemMAE
    <https://arxiv.org/abs/2206.10207>`_ and `MILAN
    <https://arxiv.org/abs/2208.06049>`_; the map is AMT's, Eq. 3-4.

    Args:
        checkpoint (str): File, URL or folder of its weights; see
            :func:`amt_mm.weights.load_encoder`. Only tensors and plain data
            are read from it.
        backbone (dict): Config of an mmpretrain ``VisionTransformer`` with a
            class token. Its patches on the input of the run must give the
            grid of the plan.
        head_reduction (str): See :class:`amt_mm.models.AMTMAE`.
            Defaults to ``'mean_then_scale'``.
        data_preprocessor (dict, optional): How images are normalised
            for the teacher. Defaults to that of the model in training.

    Raises:
        ValueError: If the checkpoint cannot be read, or belongs to another
            architecture.
    """

    def __init__(self,
                 checkpoint: str,
                 backbone: dict[str, Any],
                 head_reduction: str = 'mean_then_scale',
                 data_preprocessor: dict[str, Any] | None = None) -> None:
        check_choice('head_reduction', head_reduction, HEAD_REDUCTIONS)
        self.checkpoint = check_str('checkpoint', checkpoint)
        self.backbone = check_config('backbone', backbone)
        self.head_reduction = head_reduction
        self.data_preprocessor = optional(check_config)(
            'data_preprocessor', data_preprocessor)

    def setup(self, runner: Runner, dataset: BaseDataset,
              grid: tuple[int, int]) -> None:
        """Load the teacher; it waits on the CPU."""
        with torch.random.fork_rng(devices=[]):
            self.vit = self.build()
        runner.logger.info(load_encoder(self.vit, self.checkpoint,
                                        assume_own_grid=True))
        self.vit.eval()  # mmpretrain's returns None
        self.vit.requires_grad_(False)
        self.precision = precision_of(runner)
        self.preprocess = unwrap_model(runner).data_preprocessor
        if self.data_preprocessor is not None:
            self.preprocess = MODELS.build(self.data_preprocessor).to(
                self.preprocess.device)

    def build(self) -> VisionTransformer:
        """Build the teacher with random weights."""
        vit = MODELS.build(self.backbone)
        if not isinstance(vit, VisionTransformer) or vit.cls_token is None:
            raise ValueError(
                'backbone of TeacherSaliency must be an mmpretrain '
                'VisionTransformer with a class token, got '
                f'{type(vit).__name__}.')
        return vit

    @torch.no_grad()
    def maps(self, loader: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the saliency of the teacher."""
        vit = self.vit.to(self.preprocess.device)
        for batch in loader:
            data = dict(inputs=batch['inputs'], data_samples=None)
            inputs = self.preprocess(data)['inputs']
            with autocast(**self.precision):
                saliency = vit_saliency(vit, inputs, self.head_reduction)
            yield batch['sample_idx'], saliency
        self.vit.cpu()

    def forward_for_flops(self, model: Any, images: Tensor) -> None:
        """Run the forward pass of a teacher without weights."""
        with images.device:
            vit_saliency(self.build(), images, self.head_reduction)
