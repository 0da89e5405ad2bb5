"""The error of reconstructions against that of the mean colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from amt_mm.evaluation import measure_reconstruction
from amt_mm.masking.plan import ROLES

P = 4


class Towards(torch.nn.Module):
    """Predicts each masked patch with a part of its deviation."""

    def __init__(self, part, dims):
        super().__init__()
        self.part, self.dims = part, dims

    def data_preprocessor(self, data):
        return dict(data, inputs=data['inputs'].float())

    def reconstruct(self, images, plan):
        patches = plan.patches(images, plan.ids_masked)
        mean = patches.mean(self.dims, keepdim=True)
        return plan.paste(images, plan.ids_masked,
                          mean + self.part * (patches - mean))


@pytest.mark.parametrize('part', [0.5, 0., 3.])
@pytest.mark.parametrize(('name', 'dims'), [
    ('over_mean', (-3, -2, -1)), ('over_colour', (-2, -1))])
def test_error_over_that_of_the_mean(part, name, dims):
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(3):
        sample = DataSample()
        plan = np.full((2, 2), ROLES['visible'], np.int8)
        plan[rng.integers(2)] = ROLES['masked'], ROLES['thrown']
        sample.mask_plan = plan
        colours = 5 * rng.normal(size=(3, 1, 1))
        image = colours + rng.normal(size=(3, 2 * P, 2 * P))
        samples.append(dict(
            inputs=torch.from_numpy(image), data_samples=sample))
    model = Towards(part, dims)
    found = measure_reconstruction(model, samples, [0, 2])
    assert getattr(found, name) == pytest.approx((1 - part)**2, rel=1e-3)
    assert found.over_mean < found.over_colour
    assert model.training
