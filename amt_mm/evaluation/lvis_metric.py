"""mmdet's LVIS metric with the package that pip installs."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
from mmdet.evaluation import LVISMetric as Base

from amt_mm.registry import METRICS


@METRICS.register_module()
class LVISMetric(Base):
    """mmdet's ``LVISMetric`` for lvis 0.5.3 beside numpy 1.24 or later.

    That package asks for ``numpy.float``, which is gone; it is lent to it
    while it evaluates.

    Args:
        **kwargs: Those of :class:`mmdet.evaluation.LVISMetric`.
    """

    def compute_metrics(self, results: list) -> dict[str, Any]:
        """Evaluate what the processes collected."""
        with patch.object(np, 'float', float, create=True):
            return super().compute_metrics(results)
