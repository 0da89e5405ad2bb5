"""The error of reconstructions against that of the mean colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from amt_mm.evaluation import measure_reconstruction
from amt_mm.masking.plan import ROLES

P = 4


class HalfWay(torch.nn.Module):
    """Predicts each masked patch with a given part of its deviation."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def data_preprocessor(self, data):
        return dict(data, inputs=data['inputs'].float())

    def reconstruct(self, images, plan):
        patches = plan.patches(images, plan.ids_masked)
        mean = patches.mean((-2, -1), keepdim=True)
        return plan.paste(images, plan.ids_masked,
                          mean + self.part * (patches - mean))


@pytest.mark.parametrize(('part', 'ratio'), [(0.5, 0.25), (0., 1.), (3., 4.)])
def test_error_over_that_of_the_mean_colour(part, ratio):
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(3):
        sample = DataSample()
        plan = np.full((2, 2), ROLES['visible'], np.int8)
        plan[rng.integers(2)] = ROLES['masked'], ROLES['thrown']
        sample.mask_plan = plan
        samples.append(dict(
            inputs=torch.from_numpy(rng.normal(size=(3, 2 * P, 2 * P))),
            data_samples=sample))
    model = HalfWay(part)
    found = measure_reconstruction(model, samples, [0, 2])
    assert found.median_ratio == pytest.approx(ratio, rel=1e-3)
    if ratio != 1:  # else rounding decides
        assert found.share_better == (ratio < 1)
    assert model.training
