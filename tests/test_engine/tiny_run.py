"""Look into the runs of the tests."""

from __future__ import annotations

from pathlib import Path

NUM_IMAGES = 22
WORKERS = {
    'train_dataloader.num_workers': 2,
    'train_dataloader.persistent_workers': True,
}


def loss_trace(runner):
    """Return the loss of every iteration of a runner."""
    return runner.message_hub.log_scalars['train/loss'].data[0]


def store_of(runner):
    """Return the saliency store of a runner."""
    return next(hook for hook in runner.hooks if hasattr(hook, 'store')).store


def log_of(runner):
    """Return the text log of a runner."""
    return next(Path(runner._log_dir).glob('*.log')).read_text()


def scalars_of(runner):
    """Return the path of the JSON log of a runner."""
    return next(Path(runner._log_dir).glob('vis_data/scalars.json'))


def pictures_of(runner):
    """Return the paths of the pictures of a runner, in order."""
    return sorted(Path(runner._log_dir).glob('vis_data/vis_image/*.png'))
