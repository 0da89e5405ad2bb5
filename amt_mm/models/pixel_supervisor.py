"""What the methods that predict pixels have in common."""

from __future__ import annotations

from typing import Any

from mmpretrain.structures import DataSample
from torch import Tensor

from amt_mm.masking.plan import MaskPlan

from .plan_supervisor import PlanSupervisor


class PixelSupervisor(PlanSupervisor):
    """A method whose neck predicts the pixels of the masked patches.

    Args:
        **kwargs: Those of :class:`PlanSupervisor`.
    """

    def loss(self, inputs: Tensor, data_samples: list[DataSample],
             **kwargs: Any) -> dict[str, Tensor]:
        """Return ``dict(loss=...)`` for images (B, C, H, W)."""
        plan = self.plan_of(inputs, data_samples,
                            self.head.saliency_weight > 0)
        latent = self.backbone(inputs, plan)
        pred = self.neck(latent, plan)
        return dict(loss=self.head.loss(pred, inputs, plan))

    def reconstruct(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return images (B, C, H, W) with the masked patches predicted."""
        pred = self.neck(self.backbone(inputs, plan), plan)
        return self.head.reconstruct(pred, inputs, plan)
