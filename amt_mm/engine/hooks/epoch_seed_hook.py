"""Seed each epoch on its own."""

from __future__ import annotations

import torch
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amt_mm.datasets.training_set import find_transforms
from amt_mm.datasets.transforms import SeedSample
from amt_mm.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Pass the epoch to ``SeedSample``, and seed torch before each epoch.

    With both, a run that was stopped and resumed has the same loss trace as
    one that was not.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Find the transforms before any worker starts."""
        self.transforms = find_transforms(runner.train_dataloader.dataset,
                                          SeedSample)
        # `diff_rank_seed` gives each process a seed of its own, but a sample's
        # augmentation must not depend on who loads it
        seed = [runner.seed]
        broadcast_object_list(seed)
        self.seed = seed[0]

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the samples and the model for the epoch that begins."""
        for transform in self.transforms:
            transform.set(self.seed, runner.epoch)
        # an odd factor keeps the seeds of (epoch, rank) apart
        torch.manual_seed(self.seed + 1_000_003 * runner.epoch + get_rank())
