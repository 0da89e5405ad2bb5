"""A method from outside of the package, in under 15 lines."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from mmpretrain.structures import DataSample

from amt_mm.masking import MaskPlan
from amt_mm.models import AMTSimMIMViT, BaseAMT
from amt_mm.registry import MODELS


@MODELS.register_module(force=True)
class PredictMean(BaseAMT):
    """Predict the mean colour of each masked patch."""

    def loss(self, inputs, data_samples, **kwargs):
        plan = MaskPlan.from_data_samples(data_samples, inputs.device)
        latent = self.backbone(inputs, plan)[:, -plan.ids_masked.shape[1]:]
        target = plan.patches(inputs, plan.ids_masked).mean((-1, -2))
        return dict(loss=(self.head(latent) - target).square().mean())


def test_a_method_from_outside_trains(tiny_arch):
    assert len(inspect.getsource(PredictMean).splitlines()) <= 15
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='amt_mm.PredictMean', head=torch.nn.Linear(32, 3),
        backbone=AMTSimMIMViT(arch=tiny_arch, img_size=32, patch_size=8)))
    sample = DataSample()
    flags = np.repeat(np.array([1, -1, 0], np.int8), (7, 6, 3))
    sample.set_field(flags.reshape(4, 4), 'mask_plan')
    images = torch.randn(2, 3, 32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss = model.loss(images, [sample] * 2)['loss']
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert model.saliency(images).shape == (2, 4, 4)
