"""mmseg's IoU without the background."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class ForegroundIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric``, and the mean of all classes but the first.

    The first class is the background: it fills most of an image, and is right
    in most of it by calling everything background. ``mIoU_foreground`` is in
    percent, as ``mIoU``; classes that are neither there nor found are left
    out, as there.

    Args:
        **kwargs: Those of :class:`mmseg.evaluation.IoUMetric`.
    """

    def compute_metrics(self, results: list) -> dict[str, Any]:
        """Evaluate what the processes collected."""
        metrics = super().compute_metrics(results)
        if not self.format_only:
            intersect, union = (
                sum(areas)[1:]
                for areas in list(zip(*results, strict=True))[:2])
            iou = torch.nanmean(100 * intersect / union).item()
            metrics['mIoU_foreground'] = round(iou, 2)
        return metrics
