"""What the methods that predict pixels have in common."""

from __future__ import annotations

from torch import Tensor

from amt_mm.masking.plan import MaskPlan

from .base_amt import BaseAMT


class PixelSupervisor(BaseAMT):
    """A method whose neck predicts the pixels of the masked patches.

    Args:
        **kwargs: Those of :class:`BaseAMT`.
    """

    def loss_given_plan(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return the loss of images (B, C, H, W), a number."""
        latent = self.backbone(inputs, plan)
        pred = self.neck(latent, plan)
        return self.head.loss(pred, inputs, plan)

    def reconstruct(self, inputs: Tensor, plan: MaskPlan) -> Tensor:
        """Return images (B, C, H, W) with the masked patches predicted."""
        pred = self.neck(self.backbone(inputs, plan), plan)
        return self.head.reconstruct(pred, inputs, plan)
