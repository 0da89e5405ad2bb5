"""Update the saliency maps every few epochs.

Shape letters: N images, B batch, (h, w) token grid.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    barrier,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from amt_mm.arguments import (
    check_batch_size,
    check_epochs_or_share,
    check_int,
    check_num_workers,
    check_number,
    check_str,
    optional,
)
from amt_mm.datasets.training_set import (
    find_transforms,
    parts_of,
    sample_paths,
    unwrap,
)
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine.launch import (
    any_rank,
    is_node_leader,
    raise_on_all_ranks,
)
from amt_mm.engine.sources import SaliencySource
from amt_mm.engine.whole_images import loader_like_training, whole_images
from amt_mm.progress import progress
from amt_mm.registry import HOOKS, SALIENCY_SOURCES
from amt_mm.saliency import (
    SaliencyMapsLostError,
    SaliencyStore,
    SaliencyStoreError,
    fingerprint,
    mean_entropy,
)

GENERATION_KEY, DATA_KEY = 'saliency_generation', 'saliency_data_set'


class Maps(NamedTuple):
    """Saliency of a training set."""

    # (N, h, w) float16 in [0, 1]; (0, h, w) in a process that does not write
    values: np.ndarray
    # (N,) bool, whether a map is finite and not constant; the others are set
    # to zero, which counts as uniform
    is_informative: np.ndarray


def make_maps(source: SaliencySource, loader: DataLoader,
              store: SaliencyStore, is_writer: bool) -> Maps:
    """Make the maps of a loader's images on all processes together."""
    # only one process of a node writes, and needs the memory
    num_rows = store.num_images if is_writer else 0
    maps = Maps(np.zeros((num_rows, *store.grid), np.float16),
                np.zeros(store.num_images, bool))
    for sample_idx, saliency in progress(
            source.maps(loader), 'saliency maps', len(loader)):
        if tuple(saliency.shape[1:]) != store.grid:
            raise ValueError(
                'input_size and patch_size of AMTMaskGenerator, and the scale '
                'of the crop, must give the grid of the maps of '
                f'{type(source).__name__}, {tuple(saliency.shape[1:])}, got '
                f'{store.grid}.')
        index = torch.cat(all_gather(sample_idx)).numpy()
        values = torch.cat(
            all_gather(saliency.half().contiguous())).cpu().numpy()
        is_informative = np.isfinite(values).all((1, 2)) & (
            values.max((1, 2)) > 0)
        values[~is_informative] = 0
        maps.is_informative[index] = is_informative
        if num_rows:
            maps.values[index] = values
    return maps


@dataclass
class MapState:
    """Which generations of maps a run uses."""

    is_resumed: bool = False  # whether the run goes on from a checkpoint
    current: int | None = None  # the one in use, None in the warm-up
    dataset_id: str | None = None  # the fingerprint in the checkpoint
    is_lost: bool = False  # whether the current maps must be made anew
    # those of the last two checkpoints: the last may not be on the disk yet
    checkpointed: deque[int | None] = field(
        default_factory=lambda: deque(maxlen=2))

ENTROPY_KEY = 'saliency_entropy'  # of the message hub: of the maps in use


@HOOKS.register_module()
class SaliencyUpdateHook(Hook):
    """Update the saliency maps of the training set every ``interval`` epochs.

    Source: AMT, section 3.2. Before the 0-based epochs ``begin``,
    ``begin + interval``, ... every image is resized whole to the input size
    and passed through the model in eval mode with nothing masked; the maps go
    to a :class:`SaliencyStore`, which the pipeline's ``AMTMaskGenerator``
    reads. A checkpoint names the current maps, so that a resumed run goes on
    with them. It follows the schedule of its present config: overdue maps are
    made at once, and before ``begin`` none are used. Another ``source`` may
    take the model's place; the maps of a static one are made once, before
    ``begin``.

    Args:
        interval (int | float): Epochs between two updates, as a number or,
            in (0, 1), as a share of the run. Defaults to 40; the paper's 40
            of 400 epochs are 0.1. It has no effect on a static source.
        begin (int | float, optional): The first update comes before this
            0-based epoch, or after this share. Defaults to ``interval``, or
            to 0 for a static source.
        batch_size (int, optional): Images per forward pass and process.
            Defaults to that of the training loader.
        num_workers (int, optional): Workers that load the images.
            Defaults to that of the training loader.
        keep (int): Generations of maps on disk. Defaults to 2: a checkpoint
            from before the last update can still be resumed.
        max_uniform_share (float): The update fails if more than this share of
            the maps are constant or not finite; such a map counts as uniform.
            Defaults to 0.5.
        store_dir (str, optional): Folder of the maps.
            Defaults to ``saliency`` in the run's ``work_dir``.
        source (dict): Where the maps come from.
            Defaults to ``dict(type='amt_mm.ModelSaliency')``.
    """

    priority = 'NORMAL'

    def __init__(self,
                 interval: int | float = 40,
                 begin: int | float | None = None,
                 batch_size: int | None = None,
                 num_workers: int | None = None,
                 keep: int = 2,
                 max_uniform_share: float = 0.5,
                 store_dir: str | None = None,
                 source: dict[str, Any] | None = None) -> None:
        self.source = SALIENCY_SOURCES.build(
            dict(type='amt_mm.ModelSaliency') if source is None else source)
        self.interval = check_epochs_or_share('interval', interval, 1)
        if begin is None:
            begin = 0 if self.source.is_static else self.interval
        self.begin = check_epochs_or_share('begin', begin, 0)
        self.batch_size = check_batch_size('batch_size', batch_size)
        self.num_workers = check_num_workers('num_workers', num_workers)
        self.keep = check_int('keep', keep, 1)
        self.max_uniform_share = check_number('max_uniform_share',
                                              max_uniform_share, '[0, 1]')
        self.store_dir = optional(check_str)('store_dir', store_dir)
        self.state = MapState()

    def schedule(self, max_epochs: int) -> range:
        """Return the 0-based epochs before which the maps are made."""
        begin, interval = (
            max(1, round(n * max_epochs)) if isinstance(n, float) else n
            for n in (self.begin, self.interval))
        epochs = range(begin, max_epochs, interval)
        return epochs[:1] if self.source.is_static else epochs

    def due(self, epoch: int) -> int | None:
        """Return the epoch of the last update up to a 0-based epoch."""
        return max((e for e in self.epochs if e <= epoch), default=None)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read which maps the resumed run used."""
        if runner._resume:
            self.state = MapState(True, checkpoint.get(GENERATION_KEY),
                                  checkpoint.get(DATA_KEY))
            self.state.checkpointed.append(self.state.current)

    def before_train(self, runner: Runner) -> None:
        """Open the store and connect it to the pipeline."""
        dataset = unwrap(runner.train_dataloader.dataset)
        generators = [g for g in find_transforms(dataset, AMTMaskGenerator)
                      if g.needs_saliency]
        _check_run(runner, generators)
        whole_images(dataset)  # raises an error if the pipeline has no crop
        self.epochs = self.schedule(runner.max_epochs)
        if not self.epochs:
            runner.logger.warning(
                f'saliency is never updated: begin {self.epochs.start} is not '
                f'below max_epochs {runner.max_epochs}, so the whole training '
                'uses the warm-up ratios.')
        self.store = SaliencyStore(
            self.store_dir or Path(runner.work_dir) / 'saliency',
            len(dataset), generators[0].tokens,
            fingerprint(sample_paths(dataset)))
        lists = all_gather_object((len(dataset), self.store.dataset_id[:12]))
        if len(set(lists)) > 1:
            raise ValueError(
                'all processes must train on the same images in the same '
                f'order, got by rank (images, fingerprint) {lists}: the data '
                'differ between nodes.')
        for generator in generators:
            generator.store = self.store
        self.source.setup(runner, dataset, self.store.grid)
        if self.state.current is not None and self.due(runner.epoch) is None:
            runner.logger.info(
                f'the maps of epoch {self.state.current} are not used: in the '
                f'config the first update is before epoch {self.epochs.start},'
                f' and the run is at epoch {runner.epoch}.')
            self.state.current = None
        if is_node_leader():
            self.store.clean()
        barrier()  # nodes may share the folder
        self.state.is_lost = any_rank(
            is_node_leader() and not self._restore(runner))

    def before_train_epoch(self, runner: Runner) -> None:
        """Update the maps if they are due or lost."""
        due, current = self.due(runner.epoch), self.state.current
        if due is not None and (current is None or current < due):
            self.update(runner, runner.epoch)
        elif current is not None and self.state.is_lost:
            self.update(runner, current)
        self.state.is_lost = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write into the checkpoint which maps are in use."""
        checkpoint[GENERATION_KEY] = self.state.current
        checkpoint[DATA_KEY] = self.store.dataset_id
        self.state.checkpointed.append(self.state.current)

    def _restore(self, runner: Runner) -> bool:
        """Make the maps of the run the current ones; False if lost."""
        current, begun_with = self.state.current, self.state.dataset_id
        if not self.state.is_resumed:
            self.store.reset()
            return True
        try:
            if current is not None:
                self.store.verify(current)
            self.store.activate(current)
            return True
        except SaliencyMapsLostError as error:
            if begun_with not in (None, self.store.dataset_id):
                # a store that is lost cannot say so
                raise SaliencyStoreError(
                    'the resumed run belongs to another data set: the '
                    f'fingerprint of its images is {str(begun_with)[:12]}..., '
                    f'training has {self.store.num_images} of '
                    f'{self.store.dataset_id[:12]}... Use the data set that '
                    'the run began with, or start afresh.') from error
            self.store.reset()
            if current is not None:
                how = '' if self.source.is_static else (
                    ' with the resumed weights, so training differs from the '
                    'run that was stopped')
                runner.logger.warning(
                    f'the saliency maps of the resumed run are lost: {error} '
                    f'They are computed again{how}.')
            return current is None

    def update(self, runner: Runner, generation: int) -> None:
        """Make all maps with the present weights and use them.

        The visualizer gets ``saliency/entropy`` (see :func:`mean_entropy`),
        the number of uniform maps, and the seconds.
        """
        start = time.perf_counter()
        num_images, epoch = self.store.num_images, runner.epoch
        runner.logger.info(
            f'updating saliency: epoch {epoch}, {num_images:,} images')
        whole = whole_images(unwrap(runner.train_dataloader.dataset),
                             self.source.prepare)
        maps = make_maps(
            self.source,
            loader_like_training(runner, whole, self.batch_size,
                                 self.num_workers),
            self.store, is_node_leader())
        num_uniform = num_images - int(maps.is_informative.sum())
        if num_uniform > self.max_uniform_share * num_images:
            raise RuntimeError(
                f'saliency update before epoch {epoch}: {num_uniform:,} of '
                f'{num_images:,} maps are constant or not finite, more than '
                f'max_uniform_share {self.max_uniform_share}. '
                + _why_uniform(runner))
        self._write(generation, maps.values)
        seconds = time.perf_counter() - start
        runner.logger.info(
            f'saliency updated: epoch {epoch}, {num_images:,} images, '
            f'{num_uniform:,} uniform, {seconds:.0f} s')
        if is_main_process():
            entropy = mean_entropy(maps.values)
            runner.message_hub.update_info(ENTROPY_KEY, entropy)
            runner.visualizer.add_scalars(
                {'saliency/entropy': entropy,
                 'saliency/uniform': num_uniform,
                 'saliency/seconds': seconds, 'epoch': epoch},
                step=epoch, file_path=f'{runner.timestamp}.json')

    def _write(self, generation: int, maps: np.ndarray) -> None:
        """Write new maps on each node, or raise an error on all ranks."""

        def explain(error: Exception | None) -> Exception:
            return SaliencyStoreError(
                'cannot write the saliency maps '
                f'{self.store.path(generation)}: '
                f'{error or "see the log of another node"}. Those in use, of '
                f'generation {self.state.current}, are whole: mend the disk '
                'and resume from the last checkpoint.')

        with raise_on_all_ranks((OSError, SaliencyStoreError), explain):
            if is_node_leader():
                self.store.write(generation, maps, self.keep,
                                 self.state.checkpointed)
        self.state.current = generation


def _check_run(runner: Runner, generators: list[AMTMaskGenerator]) -> None:
    """Raise an error if the run has no epochs, or no use for the maps."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise ValueError(
            'SaliencyUpdateHook counts epochs: train_cfg must be an '
            'EpochBasedTrainLoop, got '
            f'{type(runner.train_loop).__name__}.')
    if not generators:
        raise ValueError(
            'SaliencyUpdateHook has no effect: the train pipeline has no '
            'AMTMaskGenerator with an ordering, or with_saliency=True for a '
            'loss, that needs saliency. Remove the hook.')
    if len({g.tokens for g in generators}) > 1:
        raise ValueError('all AMTMaskGenerators must have one token grid, got '
                         f'{[g.tokens for g in generators]}.')


def _why_uniform(runner: Runner) -> str:
    """Name the most likely cause of many uniform maps."""
    num_unreadable = sum(
        int(dataset.unreadable.sum())
        for dataset in parts_of(runner.train_dataloader.dataset)
        if hasattr(dataset, 'unreadable'))
    if num_unreadable:
        return (f'{num_unreadable:,} of the images cannot be read, '
                'which makes their maps uniform.')
    return 'A model with such maps has most likely diverged.'
