"""Report the image files that could not be read."""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amt_mm.datasets.image_folder import ImageFolder
from amt_mm.datasets.training_set import info_at, parts_of
from amt_mm.datasets.transforms.load_image import printable
from amt_mm.registry import HOOKS

NUM_SHOWN = 20


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Log, after each epoch, which files of ``ImageFolder`` were skipped."""

    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        """Start with nothing reported."""
        self.reported = torch.zeros(0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Warn of the files found unreadable since the last report."""
        parts = [part for part in parts_of(runner.train_dataloader.dataset)
                 if isinstance(part, ImageFolder)]
        if not parts:
            return
        flags = torch.cat([part.unreadable for part in parts]).int()
        all_reduce(flags, 'max')
        if not len(self.reported):
            self.reported = torch.zeros_like(flags)
        new = torch.nonzero(flags > self.reported).flatten().tolist()
        self.reported = flags
        if new:
            shown = '\n  '.join(
                printable(info_at(parts, i)['img_path'])
                for i in new[:NUM_SHOWN])
            runner.logger.warning(
                f'skipped {int(flags.sum()):,} of {len(flags):,} images '
                f'that cannot be read; {len(new)} new, {NUM_SHOWN} at most '
                f'shown:\n  {shown}')
