"""Log what happens to the salient tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from amt_mm.arguments import check_int
from amt_mm.masking.plan import MASKED, ROLES
from amt_mm.registry import HOOKS


@HOOKS.register_module()
class MaskStatisticsHook(Hook):
    """Log P(masked|salient), P(thrown|salient) and P(visible|salient).

    A token is salient if its weight is above the mean of its crop. Under
    random masking the three equal the ratios. Nothing is logged before the
    first saliency update, when no map is there to tell.

    Args:
        interval (int): Iterations between two measurements. Defaults to 10.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 10) -> None:
        self.interval = check_int('interval', interval, 1)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Measure one batch every ``interval`` iterations."""
        if data_batch is None or batch_idx % self.interval:
            return
        for role, share in salient_shares(data_batch['data_samples']).items():
            runner.message_hub.update_scalar(f'train/p_{role}_salient', share)


def salient_shares(data_samples: Sequence[DataSample]) -> dict[str, float]:
    """Return the share of salient tokens that have each role."""
    samples = [s for s in data_samples if 'saliency' in s]
    if not samples:
        return {}
    plans = np.stack([sample.mask_plan for sample in samples])
    plans = np.minimum(plans, MASKED)  # masked, predicted or not
    weights = np.stack([sample.saliency for sample in samples])
    salient = weights > weights.mean((1, 2), keepdims=True)
    if not salient.any():
        return {}
    return {
        role: float((plans[salient] == flag).mean())
        for role, flag in ROLES.items()
    }
