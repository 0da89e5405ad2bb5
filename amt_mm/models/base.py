"""What every method that masks by a plan has in common.

Shape letters: B batch, C channels, (h, w) token grid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from amt_mm.arguments import check_bool, check_choice
from amt_mm.masking.plan import MaskPlan
from amt_mm.saliency.attention import HEAD_REDUCTIONS, vit_saliency

from .attention import SelfAttention

# by name: a size as it is, as it must be, and what it must fit
Sizes = dict[str, tuple[Any, Any, str]]


class BaseAMT(BaseSelfSupervisor):
    """A self-supervised method that masks by a plan and has saliency maps.

    Args:
        backbone (dict | nn.Module): The encoder or its config.
        head_reduction (str): How the attention of several heads becomes one
            map: ``'mean_then_scale'`` (the paper) or ``'scale_then_mean'``.
            Defaults to ``'mean_then_scale'``.
        compile_loss (bool | dict): Whether ``torch.compile`` makes one graph
            of the loss given the plan, or its options. The plan is made
            outside, and the saliency is not compiled. Defaults to False.
        **kwargs: Those of
            :class:`mmpretrain.models.selfsup.BaseSelfSupervisor`.

    Raises:
        TypeError: If a part is not of its class in ``parts``.
        ValueError: If the sizes of two parts do not fit.
    """

    # the classes that ``backbone``, ``neck`` and ``head`` must be of
    parts: dict[str, type] = {}
    # what their configs take of the backbone where they do not say it; a part
    # may name more in an ``of_backbone`` of its own
    of_backbone: dict[str, dict[str, str]] = {}

    def __init__(self,
                 backbone: dict | nn.Module,
                 head_reduction: str = 'mean_then_scale',
                 compile_loss: bool | dict[str, Any] = False,
                 **kwargs: Any) -> None:
        if isinstance(backbone, dict):
            backbone = MODELS.build(backbone)
        self._check_kind('backbone', type(backbone))
        for name, sizes in self.of_backbone.items():
            cfg = kwargs.get(name)
            if not isinstance(cfg, dict):
                continue
            kind = cfg.get('type')
            found = MODELS.get(kind) if isinstance(kind, str) else kind
            if found:  # of any other, MODELS.build says what is wrong
                self._check_kind(name, found)
                sizes = {**sizes, **getattr(found, 'of_backbone', {})}
                kwargs[name] = {**{key: attrgetter(path)(backbone)
                                   for key, path in sizes.items()}, **cfg}
        super().__init__(backbone=backbone, **kwargs)
        for module in self.modules():
            SelfAttention.convert(module)
        self.head_reduction = check_choice('head_reduction', head_reduction,
                                           HEAD_REDUCTIONS)
        options = compile_loss if isinstance(compile_loss, dict) else dict(
            disable=not check_bool('compile_loss', compile_loss))
        # of the class, not bound: a copy of the model computes with its own
        self._loss: Callable[..., Tensor] = torch.compile(
            type(self).loss_given_plan, **{'fullgraph': True, **options})
        self.data_preprocessor.register_forward_pre_hook(partial(
            _check_channels, self.backbone))
        for name in self.parts:
            self._check_kind(name, type(getattr(self, name)))
        for name, (got, expected, source) in self.sizes().items():
            if got != expected:
                raise ValueError(f'{name} must be {expected} to fit {source}, '
                                 f'got {got}.')

    def _check_kind(self, name: str, found: type) -> None:
        """Raise TypeError if a part is of another class than it must be."""
        kind = self.parts.get(name, object)
        if not issubclass(found, kind):
            raise TypeError(f'{name} must be of the class {kind.__name__}, got'
                            f' {found.__name__}.')

    def sizes(self) -> Sizes:
        """Return the sizes that must fit, by name."""
        return {}

    def loss(self, inputs: Tensor, data_samples: list[DataSample],
             **kwargs: Any) -> dict[str, Tensor]:
        """Return ``dict(loss=...)`` for images (B, C, H, W)."""
        # a head with other targets than pixels has no such weight
        with_saliency = getattr(self.head, 'saliency_weight', 0) > 0
        plan = self.plan_of(inputs, data_samples, with_saliency)
        return dict(loss=self._loss(self, inputs, plan))

    def loss_given_plan(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return the loss of images (B, C, H, W), a scalar."""
        raise NotImplementedError

    @staticmethod
    @torch.compiler.disable  # made on the host; all after it is one graph
    def plan_of(inputs: Tensor, data_samples: list[DataSample],
                with_saliency: bool = False) -> MaskPlan:
        """Return the plan of a batch, on the device of its images."""
        return MaskPlan.from_data_samples(data_samples, inputs.device,
                                          with_saliency)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the features of whole images, nothing masked."""
        return self.backbone(inputs)

    def saliency(self, inputs: Tensor) -> Tensor:
        """Return the attention of the class token (B, h, w), in [0, 1]."""
        return vit_saliency(self.backbone, inputs, self.head_reduction)


def _check_channels(backbone: Any, module: nn.Module, args: tuple) -> None:
    """Raise ValueError if a batch has other channels than the model."""
    # the preprocessor would take three of them, to swap red and blue
    images = args[0].get('inputs') if args else None
    num_channels = backbone.patch_embed.projection.in_channels
    if isinstance(images, Tensor) and images.shape[1] != num_channels:
        raise ValueError(f'in_channels must be {images.shape[1]} to fit the '
                         f'images, got {num_channels}.')


class PixelAMT(BaseAMT):
    """A method whose neck predicts the pixels of the masked patches."""

    def loss_given_plan(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return the loss of images (B, C, H, W), a scalar."""
        return self.head.loss(self.predict(inputs, plan), inputs, plan)

    def predict(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Predict the pixels of the masked patches, as the neck does."""
        latent = self.backbone(inputs, plan)
        return self.neck(latent, plan)

    def reconstruct(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return images (B, C, H, W) with the masked patches predicted."""
        return self.head.reconstruct(self.predict(inputs, plan), inputs, plan)
