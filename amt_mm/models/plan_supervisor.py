"""What every method that masks by a plan has in common."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor

from amt_mm.masking.plan import MaskPlan
from amt_mm.saliency.attention import check_reduction, vit_saliency


class PlanSupervisor(BaseSelfSupervisor):
    """A self-supervised method that can say where its encoder looks.

    Args:
        head_reduction (str): How the attention of several heads becomes one
            map: ``'mean_then_scale'`` (the paper) or ``'scale_then_mean'``.
            Defaults to ``'mean_then_scale'``.
        **kwargs: Those of
            :class:`mmpretrain.models.selfsup.BaseSelfSupervisor`.
    """

    # the kinds that ``backbone``, ``neck`` and ``head`` must be of
    parts: dict[str, type] = {}

    def __init__(self,
                 head_reduction: str = 'mean_then_scale',
                 **kwargs: Any) -> None:
        check_reduction(head_reduction)
        super().__init__(**kwargs)
        self.head_reduction = head_reduction
        for name, kind in self.parts.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                raise TypeError(f'{name} must be an {_full_name(kind)}, got '
                                f'{type(part).__name__}.')
        for name, (got, expected) in self.sizes().items():
            if got != expected:
                raise ValueError(f'{name} must be {expected} to fit the '
                                 f'backbone and the head, got {got}.')

    def sizes(self) -> dict[str, tuple[Any, Any]]:
        """Return the sizes, as they are and as they must be, by name."""
        return {}

    @staticmethod
    @torch.compiler.disable  # made on the host; all after it is one graph
    def plan_of(inputs: Tensor, data_samples: list[DataSample]) -> MaskPlan:
        """Return the plan of a batch, on the device of its images."""
        return MaskPlan.from_data_samples(data_samples, inputs.device)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the features of whole images, nothing masked."""
        return self.backbone(inputs)

    def saliency(self, inputs: Tensor) -> Tensor:
        """Return where the encoder looks (B, h, w), in [0, 1]."""
        return vit_saliency(self.backbone, inputs, self.head_reduction)


def _full_name(kind: type) -> str:
    """Name a class as a config does."""
    return f'{kind.__module__.split(".")[0]}.{kind.__name__}'
