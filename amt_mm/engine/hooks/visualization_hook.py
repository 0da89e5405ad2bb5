"""Pictures of saliency, plans and reconstructions during a run."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmcv.transforms import RandomFlip
from mmengine.dataset import BaseDataset, Compose
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amt_mm.arguments import check_bool, check_int, check_str
from amt_mm.datasets.training_set import JoinedDataset, unwrap
from amt_mm.engine.sources.model_saliency import full_params, unwrap_model
from amt_mm.engine.whole_images import CROPS, whole_images
from amt_mm.registry import HOOKS
from amt_mm.visualization import draw_sheet, training_panels


@HOOKS.register_module()
class AMTVisualizationHook(Hook):
    """Draw a sheet of panels every so many epochs, of the same images.

    A panel shows an image whole, its saliency in the maps in use (before the
    first update, that of the weights), a plan drawn from it, and the masked
    patches as the model makes them, where it predicts pixels. Brightness and
    hatching, not hue, distinguish the patches. The sheet goes to all
    backends of the run's visualizer, as ``NAME`` at the step of the epoch. The
    random numbers of the run stay as they are: it is bit for bit the one
    without the hook.

    Args:
        interval (int): Epochs between two sheets; there is one more before
            the first epoch and after the last. Defaults to 10.
        num_images (int): Images of a sheet, spread over the training set.
            Defaults to 4.
        at_start (bool): Whether to draw before the first epoch.
            Defaults to True.
        name (str): Of the pictures. Defaults to ``'panels'``.

    Raises:
        ValueError: At the start of a run, if its pipeline has no crop that
            records its box.
    """

    priority = 'LOW'

    def __init__(self,
                 interval: int = 10,
                 num_images: int = 4,
                 at_start: bool = True,
                 name: str = 'panels') -> None:
        self.interval = check_int('interval', interval, 1)
        self.num_images = check_int('num_images', num_images, 1)
        self.at_start = check_bool('at_start', at_start)
        self.name = check_str('name', name)

    def before_train(self, runner: Runner) -> None:
        """Choose the images."""
        self.images = whole_plans(unwrap(runner.train_dataloader.dataset))
        last = len(self.images) - 1
        number = min(self.num_images, last + 1)
        self.indices = np.linspace(0, last, number).astype(int).tolist()

    def before_train_epoch(self, runner: Runner) -> None:
        """Draw what the run starts from."""
        if self.at_start and runner.epoch == 0:
            self.draw(runner, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw every ``interval`` epochs and after the last."""
        if self.every_n_epochs(runner, self.interval) or \
                self.is_last_train_epoch(runner):
            self.draw(runner, runner.epoch + 1)

    def draw(self, runner: Runner, epoch: int) -> None:
        """Draw the sheet of an epoch; the main process sends it off."""
        # all processes make it, as a sharded model takes them all
        with full_params(runner.model), random_numbers_kept():
            panels = training_panels(
                unwrap_model(runner), self.images, self.indices)
        if is_main_process():
            runner.visualizer.add_image(self.name, draw_sheet(panels), epoch)


def whole_plans(dataset: BaseDataset) -> BaseDataset:
    """Return the data set with whole images, not flipped, and their plans."""
    if isinstance(dataset, JoinedDataset):
        return JoinedDataset([whole_plans(part) for part in dataset.parts])
    whole_images(dataset)  # raises an error if the pipeline has no crop
    shown = copy.copy(dataset)
    shown.pipeline = Compose([
        step.uncropped() if isinstance(step, CROPS) else step
        for step in dataset.pipeline.transforms
        if not isinstance(step, RandomFlip)
    ])
    return shown


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Leave the generators of Python, numpy and torch as they are."""
    state, np_state = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() \
        else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(np_state)
