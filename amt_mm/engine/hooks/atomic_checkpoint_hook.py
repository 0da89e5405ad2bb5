"""Checkpoints that are whole or not there, and the one to go on from."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from contextlib import suppress
from errno import EIO
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    is_main_process,
)
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    FlexibleRunner,
    Runner,
    find_latest_checkpoint,
)
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.arguments import check_sides
from amt_mm.atomic_write import (
    ENDING,
    put_in_place,
    remove,
    remove_parts,
    replacing,
)
from amt_mm.engine.launch import is_node_leader, raise_on_all_ranks
from amt_mm.engine.resumed_schedule import follow_config
from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.registry import HOOKS
from amt_mm.weights import open_weights
from amt_mm.weights.grid import check_adapt
from amt_mm.weights.load import SCHEME, start_from

POINTER = 'last_checkpoint'  # a file that names the newest


class CheckpointLostError(ValueError):
    """A run cannot resume from its work dir, for the reason given."""


def find_checkpoint(
        folder: Path,
        pointer: Path | None = None) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint in a folder that is whole, if there was one.

    ``pointer``, by default ``last_checkpoint`` in the folder, names the
    newest; where that is missing or damaged, the one with the highest number
    below it is taken. The folder may have moved. With it comes a line for each
    newer one that is missing or damaged. If none is whole, CheckpointLostError
    is raised.
    """
    pointer = pointer or folder / POINTER
    name = pointer.is_file() and Path(
        pointer.read_text(errors='replace').strip()).name
    newest = [folder / name] if name else []
    others = [path for path in folder.glob('*_*.pth')
              if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
              and not (newest and _number(path) >= _number(newest[0]))]
    problems: list[str] = []
    for path in newest + sorted(others, key=_number, reverse=True):
        problem = find_damage(path)
        if problem is None:
            return path, problems
        problems.append(f'{path} {problem}')
    if problems:
        raise CheckpointLostError(
            f'cannot resume from {folder}, no checkpoint in it is complete: '
            f'{"; ".join(problems)}. To start afresh, give another work_dir.')
    return None, []


def _number(path: Path) -> float:
    digits = re.findall(r'\d+', path.stem)
    return int(digits[-1]) if digits else inf


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, None if it is whole.

    torch writes an archive with a checksum for each tensor. A sharded
    checkpoint is a folder of such files.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not files or not path.exists():
        return 'is missing'
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError,
                ValueError, NotImplementedError) as error:
            return f'cannot be read ({error})'
        if damaged is not None:
            return f'is damaged (the checksum of {damaged} differs)'
    return None


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Save so that a run can go on from any moment at which it is killed.

    mmengine's ``CheckpointHook`` removes the oldest checkpoint before it
    writes the new one, into the final file. Here a checkpoint is written under
    another name and renamed when it is on disk, then named as the last one,
    and only then the oldest goes. A run that resumes takes the newest that is
    whole, and all processes go on from the same one. Outside of a local disk
    it saves as mmengine's does.

    Where a run starts depends on ``resume`` and ``load_from`` of the config:

    - ``resume=None``, as in the configs of pre-training: the run in
      ``work_dir`` goes on. Where there is none, one begins at epoch 0, from
      the weights in ``load_from`` if that is set.
    - ``resume=True``: the run of the checkpoint ``load_from`` goes on, or, if
      that is not set, the one in ``work_dir``.
    - ``resume=False``: a run begins, also where ``work_dir`` holds another.

    With a folder in ``filename_tmpl``, as in ``'checkpoints/epoch_{}.pth'``,
    they lie in that folder of the work dir.

    The weights in ``load_from`` must fit the encoder; see
    :func:`amt_mm.weights.load.start_from`. A run that goes on
    follows the schedule of its present config; see
    :func:`amt_mm.engine.resumed_schedule.follow_config`.

    Args:
        grid (tuple[int, int], optional): Of the weights in ``load_from``; see
            :class:`amt_mm.weights.Pretrained`.
        adapt (str | list[str]): Of these weights, what is brought to the
            backbone's; see :class:`amt_mm.weights.Pretrained`.
        **kwargs: Those of :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        CheckpointLostError: If there is nothing left to resume from, or a
            process lacks the checkpoint of the others.
        OSError: If a checkpoint cannot be written; those before are whole.
    """

    def __init__(self,
                 *args: Any,
                 grid: tuple[int, int] | None = None,
                 adapt: str | list[str] | None = None,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grid = grid and check_sides('grid', grid)
        self.adapt = check_adapt(adapt)

    def before_run(self, runner: Runner) -> None:
        """Choose where to start, the same in each process."""
        folder = self._folder(runner)
        is_local, is_training = self._is_local(folder), _is_training(runner)
        if is_local:
            if is_node_leader():
                remove_parts(Path(folder))
            barrier()
        is_open = runner._resume is None and (
            is_training or not runner._load_from)
        # FlexibleRunner has loaded by now, what last_checkpoint names
        if is_open or (runner._resume is True and runner._load_from is None
                       and not runner._has_loaded):
            path = _agree_on_checkpoint(runner, Path(folder)) if is_local \
                else find_latest_checkpoint(runner.work_dir)
            runner._resume = path is not None
            if path is not None:
                runner._load_from = path
                if isinstance(runner, FlexibleRunner):
                    runner._has_loaded = False
                    runner.load_or_resume()
        runner._resume = bool(runner._resume)
        if is_training and not runner._resume and runner._load_from and \
                not runner._has_loaded and \
                hasattr(unwrap_model(runner), 'backbone'):
            runner._load_from = SCHEME + str(runner._load_from)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Fit what was read to the config, before it is loaded."""
        if not _is_training(runner):
            return
        model = unwrap_model(runner)
        path = str(runner._load_from).removeprefix(SCHEME)
        if runner._resume:
            lacked = [key for key in ('meta', 'message_hub')
                      if key not in checkpoint]
            if lacked:
                raise ValueError(
                    f'the checkpoint {path} holds no run to resume, as it '
                    f'lacks {" and ".join(lacked)}: load_from without resume '
                    'begins a new run from its weights.')
            follow_config(runner, checkpoint, self.by_epoch)
        elif isinstance(runner.model, FullyShardedDataParallel):
            raise ValueError(
                'load_from cannot begin a run with FSDP: name the weights in '
                'model.backbone.init_cfg.checkpoint.')
        elif hasattr(model, 'backbone'):
            weights = checkpoint.pop('weights', None) or open_weights(
                checkpoint, path)
            checkpoint['state_dict'], report = start_from(
                model, weights, grid=self.grid, adapt=self.adapt)
            runner.logger.info(report)

    def before_train(self, runner: Runner) -> None:
        """See that all processes start at the same iteration."""
        super().before_train(runner)
        starts = all_gather_object((runner.epoch, runner.iter))
        if len(set(starts)) > 1:
            raise CheckpointLostError(
                'all processes must resume from one checkpoint, but by rank '
                f'they start at (epoch, iter) {starts}. Copy the checkpoint '
                'to each node, or use a work_dir that all of them see.')
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and \
                runner.epoch >= runner.max_epochs:
            runner.logger.warning(
                f'nothing to train: the run is at epoch {runner.epoch} of '
                f'train_cfg.max_epochs {runner.max_epochs}.')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say on which grid, (h, w) in patches, the encoder was trained."""
        backbone = getattr(unwrap_model(runner), 'backbone', None)
        grid = getattr(backbone, 'patch_resolution', None)
        if grid is not None:
            checkpoint['meta']['grid'] = [int(n) for n in grid]

    def _folder(self, runner: Runner) -> str:
        """Return the folder of the checkpoints."""
        folder = runner.work_dir
        if self.out_dir not in (None, runner.work_dir):
            # as mmengine's before_train will have it
            folder = os.path.join(self.out_dir, Path(runner.work_dir).name)
        below = os.path.dirname(self.filename_tmpl)
        return os.path.join(folder, below) if below else folder

    def _is_local(self, folder: str) -> bool:
        backend = get_file_backend(folder, backend_args=self.backend_args)
        return type(backend) is LocalBackend and not self.file_client_args

    def _save_checkpoint_with_step(self, runner: Runner, step: int,
                                   meta: dict[str, Any]) -> None:
        if not self._is_local(self.out_dir):
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            held = [*self.keep_ckpt_ids, step]
            # saved with the one that is still there: if the run is killed
            # before it goes, mmengine removes it on resume
            runner.message_hub.update_info('keep_ckpt_ids', held)
            self.keep_ckpt_ids.append(step)  # a deque of max_keep_ckpts
            if len(held) > self.max_keep_ckpts:
                outdated = Path(self.out_dir,
                                self.filename_tmpl.format(held[0]))
        path = Path(self.out_dir, self.filename_tmpl.format(step))
        self.last_ckpt = str(path)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._save(runner, path, meta)
        if is_main_process():
            with replacing(Path(runner.work_dir, POINTER)) as file:
                file.write(self.last_ckpt.encode())
        if is_node_leader() and outdated is not None:
            remove(outdated)

    def _save(self, runner: Runner, path: Path, meta: dict[str, Any]) -> None:
        """Save under another name, and give it its own when on disk."""
        part = path.with_name(path.name + ENDING)

        def explain(error: Exception | None) -> Exception:
            with suppress(OSError):
                remove(part)
            if isinstance(error, FloatingPointError):
                return error  # of a hook that refuses the weights
            reason = getattr(error, 'strerror', None) or \
                'see the log of another process'
            return OSError(
                getattr(error, 'errno', None) or EIO,
                f'cannot save the checkpoint {path}: {reason}. Those before '
                'it are whole: mend the disk and resume')

        whole = partial(raise_on_all_ranks, (OSError, FloatingPointError),
                        explain)
        with whole():
            runner.save_checkpoint(
                str(part.parent),
                part.name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args)
        with whole():
            if is_main_process():
                put_in_place(part, path)
        with whole():
            # still there, unless the main process's node shares the folder
            if is_node_leader() and part.exists():
                put_in_place(part, path)


def _is_training(runner: Runner) -> bool:
    return isinstance(runner._train_loop, BaseLoop)


def _agree_on_checkpoint(runner: Runner, folder: Path) -> str | None:
    """Have the main process choose, and the others check."""
    choice: list[Any] = [None, None]
    if is_main_process():
        try:
            found, problems = find_checkpoint(
                folder, Path(runner.work_dir, POINTER))
            choice[0] = found and found.name
            for problem in problems:
                runner.logger.warning(f'passed over: {problem}')
        except CheckpointLostError as error:
            choice[1] = str(error)
    broadcast_object_list(choice)
    name, reason = choice
    if reason:
        raise CheckpointLostError(reason)
    path = name and str(folder / name)  # nodes may have folders of their own
    has_it = all_gather_object(path is None or os.path.exists(path))
    if not all(has_it):
        raise CheckpointLostError(
            f'the main process resumes from {name}, which the processes '
            f'{[rank for rank, has in enumerate(has_it) if not has]} do not '
            'have in their work_dir. Copy it to each node, or use a work_dir '
            'that all of them see.')
    runner.logger.info(f'resuming from {path}' if path else
                       f'nothing to resume in {folder}: starting afresh')
    return path
