"""Collate a batch and make its plan, in the worker that loads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dataset.utils import default_collate
from mmengine.structures import BaseDataElement
from mmpretrain.structures import DataSample
from torch import Tensor

from amt_mm.masking.plan import MaskPlan
from amt_mm.registry import FUNCTIONS


class PlannedSamples(BaseDataElement):
    """The data samples of a batch, in order, with its plan.

    A loader that pins its batches pins the plan, and a preprocessor that moves
    them moves it.

    Attributes:
        samples (list[DataSample]): One for each image.
        plan (MaskPlan): Of all images.
    """

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[DataSample]:
        return iter(self.samples)

    def __getitem__(self, index: int) -> DataSample:
        return self.samples[index]

    def to(self, *args: Any, **kwargs: Any) -> PlannedSamples:
        """Move all tensors, as ``Tensor.to`` does."""
        # most samples have none, and to move one copies it
        samples = [
            sample.to(*args, **kwargs) if any(
                isinstance(value, (Tensor, BaseDataElement))
                for value in sample.values()) else sample
            for sample in self.samples
        ]
        return PlannedSamples(
            samples=samples, plan=self.plan.to(*args, **kwargs))

    def pin_memory(self) -> PlannedSamples:
        """Pin the plan, so that a copy to the device need not be awaited."""
        return PlannedSamples(
            samples=self.samples, plan=self.plan.pin_memory())


@FUNCTIONS.register_module()
def collate_plans(data_batch: Sequence[dict]) -> dict[str, Any]:
    """Collate as mmengine's ``default_collate``, and make the batch's plan.

    Args:
        data_batch (Sequence[dict]): What ``PackInputs`` made of each image;
            the data samples with ``mask_plan``.

    Returns:
        dict: ``inputs`` (B, C, H, W), and ``data_samples``, which are
        :class:`PlannedSamples`, or a list where they have no plans.
    """
    batch = default_collate(data_batch)
    samples = batch['data_samples']
    if not any('mask_plan' in sample for sample in samples):
        return batch  # of a method without plans, or the model raises
    batch['data_samples'] = PlannedSamples(
        samples=samples, plan=MaskPlan.from_data_samples(samples))
    return batch
