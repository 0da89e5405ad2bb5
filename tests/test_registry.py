"""Names of strategies in configs, new and old, right and wrong."""
from __future__ import annotations

import numpy as np
import pytest
from mmengine import registry as root
from mmengine.registry import TRANSFORMS, DefaultScope

from amt_mm.masking import GridOrdering, LinearSchedule, ThrowLow
from amt_mm.registry import (
    LAYOUTS,
    ORDERINGS,
    SALIENCY_SOURCES,
    SCHEDULES,
    TASK_UTILS,
)


@pytest.fixture(params=[ORDERINGS, TASK_UTILS, root.TASK_UTILS],
                ids=['ORDERINGS', 'TASK_UTILS', 'root'])
def centre_first(request):
    """Register an ordering as a user does, or did; return its name."""

    @request.param.register_module(force=True)
    class CentreFirst:
        needs_saliency = False

        def __init__(self, stretch=1.):
            self.stretch = stretch

        def __call__(self, weights, num_masked):
            y, x = np.indices(weights.shape)
            h, w = weights.shape
            distance = (self.stretch * y - (h - 1) / 2)**2 + (
                x - (w - 1) / 2)**2
            return distance.ravel().argsort()

    yield 'CentreFirst' if request.param is root.TASK_UTILS \
        else 'amt_mm.CentreFirst'
    for registry in (ORDERINGS, TASK_UTILS, root.TASK_UTILS):
        registry.module_dict.pop('CentreFirst', None)


def test_an_ordering_of_a_user_takes_15_lines(centre_first: str) -> None:
    generator = TRANSFORMS.build(dict(
        type='amt_mm.AMTMaskGenerator', input_size=32, patch_size=8,
        mask_ratio=0.25, throw_ratio=0.5, ordering=dict(
            type=centre_first, stretch=dict(
                type='amt_mm.LinearSchedule', start=1., end=2., until=9))))
    plan = generator(dict(sample_idx=0, epoch=0))['mask_plan']
    assert plan.tolist() == [[0, -1, -1, 0], [-1, 1, 1, -1], [-1, 1, 1, -1],
                             [0, -1, -1, 0]]
    assert generator.strategy_at(9).ordering.stretch == 2.


@pytest.mark.parametrize('registry, cfg, cls', [
    (ORDERINGS, dict(type='amt_mm.GridOrdering'), GridOrdering),
    (ORDERINGS, dict(type=GridOrdering, _scope_='mmpretrain'), GridOrdering),
    (LAYOUTS, dict(type='amt_mm.ThrowLow'), ThrowLow),
    (SCHEDULES, dict(type='amt_mm.LinearSchedule', start=1, end=2, until=3),
     LinearSchedule)])
def test_configs_build_by_kind_and_as_before(registry, cfg: dict, cls) -> None:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert type(registry.build(cfg)) is cls
        cfg['type'] = f'amt_mm.{cls.__name__}'
        assert type(TASK_UTILS.build(dict(cfg, _scope_='amt_mm'))) is cls


@pytest.mark.parametrize('registry, wanted, error, message', [
    (ORDERINGS, 'amt_mm.GridOrder', KeyError, 'ordering must be one of .*Att'),
    (ORDERINGS, 'amt_mm.ThrowLow', TypeError, 'got .amt_mm.ThrowLow'),
    (LAYOUTS, GridOrdering, TypeError, 'layout must be one of .*ThrowLow'),
    (SCHEDULES, 'Line', KeyError, r"one of \['amt_mm.LinearSchedule'\]"),
    (SALIENCY_SOURCES, 'amt_mm.Gaze', KeyError, 'source must be one of .*Tea'),
])
def test_a_wrong_name_lists_the_right_ones(registry, wanted, error,
                                           message: str) -> None:
    with pytest.raises(error, match=message):
        registry.build(dict(type=wanted))
