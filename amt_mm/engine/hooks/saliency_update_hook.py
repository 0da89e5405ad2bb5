"""Make the saliency maps anew, every so many epochs."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from amt_mm.arguments import (
    POSITIVE,
    WORKERS,
    check_epochs_or_share,
    check_int,
    check_number,
    check_str,
    optional,
)
from amt_mm.datasets.training_set import (
    find_transforms,
    sample_paths,
    unwrap,
)
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.engine.launch import any_rank, is_node_leader
from amt_mm.engine.run_checks import (
    check_data_of_run,
    check_run,
    check_same_data,
)
from amt_mm.engine.saliency_log import log_update
from amt_mm.engine.saliency_maps import (
    explain_uniform_maps,
    make_maps,
    whole_image_loader,
    whole_images,
)
from amt_mm.registry import HOOKS, SALIENCY_SOURCES
from amt_mm.saliency import (
    SaliencyMapsLostError,
    SaliencyStore,
    SaliencyStoreError,
    fingerprint,
)

GENERATION_KEY, DATA_KEY = 'saliency_generation', 'saliency_data_set'


@HOOKS.register_module()
class SaliencyUpdateHook(Hook):
    """Make the saliency maps of the training set, every ``interval`` epochs.

    Source: AMT, section 3.2. Before the 0-based epochs ``begin``,
    ``begin + interval``, ... every image is resized whole to the input size
    and shown to the model in eval mode with nothing masked; the maps go to a
    :class:`SaliencyStore`, which the pipeline's ``AMTMaskGenerator`` reads.
    A checkpoint names the maps in use, so that a resumed run goes on with
    them, and follows the schedule of its present config: maps that are overdue
    by it are made at once, and before ``begin`` none are used. Another
    ``source`` may take the model's place; the maps of one that
    does not learn are made once, before ``begin``.

    Args:
        interval (int | float): Epochs between two updates, as a number or,
            in (0, 1), as a share of the run. Defaults to 40; the paper's 40
            of 400 epochs are 0.1. It has no effect where the source does not
            learn.
        begin (int | float, optional): The first update comes before this
            0-based epoch, or after this share. Defaults to ``interval``, or
            to 0 where the source does not learn.
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
        self.batch_size = optional(POSITIVE)('batch_size', batch_size)
        self.num_workers = optional(WORKERS)('num_workers', num_workers)
        self.keep = check_int('keep', keep, 1)
        self.max_uniform_share = check_number('max_uniform_share',
                                              max_uniform_share, '[0, 1]')
        self.store_dir = optional(check_str)('store_dir', store_dir)
        self.resumed: int | None = None
        self.resumed_data: str | None = None
        self.is_resumed = False
        # the maps in use, and those that the last two checkpoints name: the
        # last may not have reached the disk
        self.in_use: int | None = None
        self.named: deque[int | None] = deque(maxlen=2)

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

    # ---- the run

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which maps the resumed run had in use."""
        self.is_resumed = runner._resume
        self.resumed = checkpoint.get(GENERATION_KEY)
        self.resumed_data = checkpoint.get(DATA_KEY)
        self.named.append(self.resumed)

    def before_train(self, runner: Runner) -> None:
        """Open the store and connect it to the pipeline."""
        dataset = unwrap(runner.train_dataloader.dataset)
        generators = [
            g for g in find_transforms(dataset, AMTMaskGenerator)
            if g.needs_saliency
        ]
        check_run(runner, generators)
        whole_images(dataset)  # refuses a pipeline without the crop
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
        check_same_data(self.store)
        for generator in generators:
            generator.store = self.store
        self.source.setup(runner, dataset, self.store.grid)
        if self.is_resumed and self.resumed is not None and \
                self.due(runner.epoch) is None:
            runner.logger.info(
                f'the maps of epoch {self.resumed} are put aside: by the '
                f'config they begin with epoch {self.epochs.start}, and the '
                f'run is at {runner.epoch}.')
            self.resumed = None
        if is_node_leader():
            self.store.clean()
        barrier()  # nodes may share the folder
        lost = is_node_leader() and self._restore(runner)
        self.lost = any_rank(lost)  # others may hold what one has lost
        self.in_use = self.resumed if self.is_resumed else None

    def before_train_epoch(self, runner: Runner) -> None:
        """Make the maps anew where the schedule, or a loss, asks for it."""
        due = self.due(runner.epoch)
        if due is not None and (self.in_use is None or self.in_use < due):
            self.update(runner, runner.epoch)
        elif self.lost:
            self.update(runner, int(self.resumed))  # type: ignore[arg-type]
        self.lost = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write into the checkpoint which maps are in use."""
        checkpoint[GENERATION_KEY] = self.in_use
        checkpoint[DATA_KEY] = self.store.dataset_id
        self.named.append(self.in_use)

    def _restore(self, runner: Runner) -> bool:
        """Put the resumed run's maps in use; True if they are lost."""
        if not self.is_resumed:
            self.store.reset()
            return False
        try:
            if self.resumed is not None:
                self.store.verify(self.resumed)
            self.store.activate(self.resumed)
        except SaliencyMapsLostError as error:
            check_data_of_run(self.store, self.resumed_data)
            self.store.reset()
            if self.resumed is None:
                return False
            how = '' if self.source.is_static else (
                ' with the resumed weights, so training differs from the run '
                'that was stopped')
            runner.logger.warning(
                f'the saliency maps of the resumed run are lost: {error} '
                f'They are made anew{how}.')
            return True
        return False

    def update(self, runner: Runner, generation: int) -> None:
        """Make all maps with the present weights and put them in use."""
        start = time.perf_counter()
        num_images = self.store.num_images
        runner.logger.info(
            f'updating saliency: epoch {runner.epoch}, {num_images:,} images')
        maps = make_maps(self.source, self.loader(runner), self.store,
                         is_node_leader())
        num_uniform = num_images - int(maps.is_informative.sum())
        if num_uniform > self.max_uniform_share * num_images:
            raise RuntimeError(
                f'saliency update before epoch {runner.epoch}: {num_uniform:,}'
                f' of {num_images:,} maps are constant or not finite, more '
                f'than max_uniform_share {self.max_uniform_share}. '
                f'{explain_uniform_maps(unwrap(runner.train_dataloader.dataset))}')
        self._write(generation, maps.values)
        log_update(runner, maps, time.perf_counter() - start)

    def _write(self, generation: int, maps: np.ndarray) -> None:
        """Put new maps in use on each node, or fail in all processes."""
        error = None
        if is_node_leader():
            try:
                self.store.write(generation, maps, self.keep, self.named)
            except (OSError, SaliencyStoreError) as caught:
                error = caught
        if any_rank(error is not None):
            reason = error or 'see the log of another node'
            raise SaliencyStoreError(
                f'cannot write the saliency maps '
                f'{self.store.path(generation)}: {reason}. Those in use, '
                f'of generation {self.in_use}, are whole: mend the disk and '
                'resume from the last checkpoint.') from error
        self.in_use = generation

    def loader(self, runner: Runner) -> DataLoader:
        """Load every image once, whole, each process its share."""
        train = runner.train_dataloader
        num_workers = train.num_workers if self.num_workers is None \
            else self.num_workers
        return whole_image_loader(
            unwrap(train.dataset), self.source.prepare,
            self.batch_size or train.batch_size, num_workers,
            train.multiprocessing_context if num_workers else None)
