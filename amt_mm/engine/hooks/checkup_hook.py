"""What a run has learned, measured without labels."""

from __future__ import annotations

import time
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from amt_mm.arguments import (
    check_batch_size,
    check_int,
    check_num_workers,
    check_str,
    optional,
)
from amt_mm.datasets.image_folder import EXTENSIONS, ImageFolder
from amt_mm.datasets.training_set import find_transforms, parts_of, unwrap
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine.sources import SaliencySource
from amt_mm.engine.sources.model_saliency import full_params, unwrap_model
from amt_mm.engine.whole_images import loader_like_training, whole_images
from amt_mm.evaluation import (
    Checkup,
    PlannedImages,
    examine,
    feature_spread,
    gather_in_order,
    judge,
    rank_me,
)
from amt_mm.registry import HOOKS

from .saliency_update_hook import ENTROPY_KEY, SaliencyUpdateHook

HISTORY_KEY = 'checkups'  # of the message hub, which checkpoints keep
MAPS_KEY = 'checkup_maps'
LOSSES_KEY = 'checkup_losses'  # of each sample, the last under its plans


@HOOKS.register_module()
class CheckupHook(Hook):
    """Measure every so many epochs what the run has learned, without labels.

    The same images pass the model whole, for their features (the mean of the
    patch tokens: :func:`rank_me`, :func:`feature_spread`), and under plans as
    training makes them, drawn by the same random numbers each time: at random,
    and from the first saliency update on by the saliency that the run's source
    found in them at the last update (at random still, where it knows none but
    the images of its files). Each number stands beside that of the weights the
    run started from, and a sentence says whether the run learns, no longer
    learns or is sick (:func:`judge`). Pixels without data count as what fills
    them. No gradient reaches the model and no random number is drawn: the run
    is bit for bit the one without the hook.

    One line turns it on, and another names images that are not trained on;
    a run that learns its images by heart shows in their loss alone::

        --cfg-options default_hooks.checkup.type=amt_mm.CheckupHook \\
        default_hooks.checkup.heldout=DIR

    The numbers go to the log, to the visualizer and to the message hub, as
    ``checkup/loss``, ``checkup/heldout_loss``, ``checkup/rank_me``,
    ``checkup/spread``, ``checkup/scale`` (see :class:`Checkup`) and
    ``checkup/entropy``, that of the saliency.

    Args:
        interval (int): Epochs between two checkups; there is one more before
            the first epoch, and after the last. Defaults to 10.
        heldout (str, optional): A folder of images that are not trained on.
            Defaults to those that :class:`ImageFolder` keeps back, if any.
        num_images (int): Images of a sample at most, evenly spread.
            Defaults to 1024.
        batch_size (int, optional): Images per forward pass and process.
            Defaults to that of the training loader.
        num_workers (int, optional): Workers that load the images.
            Defaults to that of the training loader.

    Raises:
        ValueError: At the start of a run, if its pipeline has no
            ``AMTMaskGenerator`` or no crop that records its box, or its model
            no loss of a plan.
    """

    priority = 'BELOW_NORMAL'  # after the update of the maps

    def __init__(self,
                 interval: int = 10,
                 heldout: str | None = None,
                 num_images: int = 1024,
                 batch_size: int | None = None,
                 num_workers: int | None = None) -> None:
        self.interval = check_int('interval', interval, 1)
        self.heldout = optional(check_str)('heldout', heldout)
        self.num_images = check_int('num_images', num_images, 2)
        self.batch_size = check_batch_size('batch_size', batch_size)
        self.num_workers = check_num_workers('num_workers', num_workers)

    def before_train(self, runner: Runner) -> None:
        """Choose the images, and look at the weights of the start."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError('CheckupHook counts epochs: train_cfg must be an '
                             'EpochBasedTrainLoop, got '
                             f'{type(runner.train_loop).__name__}.')
        model = unwrap_model(runner)
        if not hasattr(model, 'loss_given_plan'):
            raise ValueError('model must have a method loss_given_plan, as '
                             f'amt_mm.AMTMAE has; got {type(model).__name__}.')
        train = unwrap(runner.train_dataloader.dataset)
        generators = find_transforms(train, AMTMaskGenerator)
        if not generators:
            raise ValueError('CheckupHook needs AMTMaskGenerator in the train '
                             'pipeline, for the counts of its plans.')
        self.generator = generators[0]
        self.update_hook = next((hook for hook in runner.hooks if isinstance(
            hook, SaliencyUpdateHook)), None)
        self.samples = [self._choose(train)]
        first = parts_of(train)[0]
        if self.heldout is not None:
            folder = ImageFolder(self.heldout, extensions=tuple(
                getattr(first, 'extensions', EXTENSIONS)))
            folder.pipeline = first.pipeline
            self.samples.append(self._choose(folder))
        elif getattr(first, 'num_heldout', 0):
            self.samples.append(self._choose(first.held_out()))
        if runner.epoch == 0:
            self.check(runner, 0)

    def before_train_epoch(self, runner: Runner) -> None:
        """Make maps of the images when training gets new ones."""
        update = self.update_hook
        if update is None or update.state.current is None or \
                not self.generator.needs_saliency or \
                not update.source.knows_any_image or \
                self._kept_maps(runner) is not None:
            return
        maps = [self._maps(runner, update.source, dataset, indices)
                for dataset, indices in self.samples]
        hub = runner.message_hub
        hub.update_info(
            MAPS_KEY, dict(generation=update.state.current, maps=maps))
        hub.update_info(LOSSES_KEY, [
            float(losses.mean()) for _, losses, _ in
            self._examine(runner)])

    def after_train_epoch(self, runner: Runner) -> None:
        """Check every ``interval`` epochs and after the last."""
        if self.every_n_epochs(runner, self.interval) or \
                self.is_last_train_epoch(runner):
            self.check(runner, runner.epoch + 1)

    def _choose(self, dataset: BaseDataset) -> tuple[BaseDataset, list[int]]:
        """Choose images of a data set."""
        number = min(self.num_images, len(dataset))
        indices = np.linspace(0, len(dataset) - 1, number).astype(int)
        return dataset, indices.tolist()

    def check(self, runner: Runner, epoch: int) -> None:
        """Report what the current weights make of the images."""
        begin = time.perf_counter()
        found = self._examine(runner)
        hub = runner.message_hub
        losses = [float(losses.mean()) for _, losses, _ in found]
        before = hub.runtime_info.get(LOSSES_KEY, [])
        gains = [0.] * len(losses)
        if len(before) == len(losses):
            falls = [b - now for b, now in zip(before, losses, strict=True)]
            gains = [fall if isfinite(fall) else 0. for fall in falls]
        hub.update_info(LOSSES_KEY, losses)
        if not is_main_process():
            return
        features, _, scales = found[0]
        is_finite = bool(features.isfinite().all())
        now = Checkup(
            epoch=epoch,
            loss=losses[0],
            rank_me=rank_me(features) if is_finite else float('nan'),
            spread=feature_spread(features) if is_finite else float('nan'),
            heldout_loss=losses[1] if losses[1:] else None,
            entropy=hub.runtime_info.get(ENTROPY_KEY),
            scale=float(scales.mean()),
            gain=gains[0],
            heldout_gain=gains[-1])
        # a checkpoint of a run without the hook has none
        history = [*map(Checkup.of, hub.runtime_info.get(HISTORY_KEY, [])),
                   now]
        hub.update_info(HISTORY_KEY, [asdict(each) for each in history])
        runner.logger.info(
            f'checkup: epoch {epoch}, {now.compare(history[0])} '
            f'({" and ".join(f"{len(i):,}" for _, i in self.samples)} images, '
            f'{time.perf_counter() - begin:.0f} s)'
            + (f'; {judge(history)}' if epoch else ''))
        scalars = {f'checkup/{name}': float(value) for name, value in
                   asdict(now).items() if value is not None}
        scalars.pop('checkup/epoch')
        hub.update_scalars(scalars)
        runner.visualizer.add_scalars(
            dict(scalars, epoch=epoch), step=epoch,
            file_path=f'{runner.timestamp}.json')

    def _kept_maps(self, runner: Runner) -> dict[str, Any] | None:
        """Return the maps (N, h, w) of each sample, if of the last update."""
        kept = runner.message_hub.runtime_info.get(MAPS_KEY)
        is_current = (
            kept is not None and self.update_hook is not None and
            kept['generation'] == self.update_hook.state.current and
            list(map(len, kept['maps'])) == [len(i) for _, i in self.samples])
        return kept if is_current else None

    def _load(self, runner: Runner, images: Dataset) -> DataLoader:
        return loader_like_training(
            runner, images, self.batch_size, self.num_workers)

    def _maps(self, runner: Runner, source: SaliencySource,
              dataset: BaseDataset, indices: list[int]) -> Tensor:
        """Return the saliency (N, h, w) that a source finds in a sample."""
        images = Subset(whole_images(dataset, source.prepare), indices)
        maps = [own for _, own in source.maps(self._load(runner, images))]
        return gather_in_order(torch.cat(maps).float().cpu(),
                               len(indices)).nan_to_num(0., 0., 0.)

    def _examine(self, runner: Runner
                 ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Look at each sample as the run computes, see :func:`examine`."""
        model, found = unwrap_model(runner), []
        kept = self._kept_maps(runner) or dict(
            generation=0, maps=[None] * len(self.samples))
        for (dataset, indices), maps in zip(
                self.samples, kept['maps'], strict=True):
            plans = self.generator.fixed_plans(
                len(indices), kept['generation'],
                None if maps is None else maps.numpy())
            loader = self._load(runner, PlannedImages(
                whole_images(dataset), indices, plans))
            with full_params(runner.model), \
                    runner.optim_wrapper.optim_context(model):
                found.append(examine(model, loader))
        return found
