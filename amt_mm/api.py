"""Pre-train, extract features and export, each by one call.

``amt_mm.pretrain`` and ``python -m amt_mm pretrain`` take the same arguments.
"""

from __future__ import annotations

import difflib
import inspect
import os
import runpy  # noqa: TID251 (for our own tool)
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger, print_log
from mmengine.registry import init_default_scope

from amt_mm.arguments import check_choice
from amt_mm.atomic_write import replacing
from amt_mm.datasets.training_set import sample_paths
from amt_mm.engine import CostEstimate
from amt_mm.engine import cost as engine_cost
from amt_mm.engine.fit_config import fit_machine
from amt_mm.engine.fit_size import Pick, precision
from amt_mm.engine.frozen_encoder import build_encoder, unlabelled_images
from amt_mm.engine.hooks.atomic_checkpoint_hook import POINTER, find_checkpoint
from amt_mm.engine.train import run_config, set_loaders
from amt_mm.engine.whole_images import loader_in_order
from amt_mm.evaluation import pool_of, readable_features, write_features
from amt_mm.recipe import (
    CHECKPOINTS,
    Settings,
    base_config,
    run_folder_config,
    set_length,
    shipped,
    with_full_paths,
)
from amt_mm.weights import read_weights
from amt_mm.weights.export import TARGETS, open_checkpoint

CONFIG = 'config.py'
EXPORTED = 'exported'
# of a run that goes on, they stay as they are
FIXED = ('model', 'method', 'masking', 'init', 'recipe', 'image_size',
         'heldout', 'seed')


def pretrain(out: str | os.PathLike,
             data: str | Sequence[str] | None = None,
             *,
             model: str | None = None,
             method: str | None = None,
             masking: str | None = None,
             init: str | None = None,
             recipe: str | None = None,
             image_size: int | None = None,
             epochs: int | None = None,
             batch_size: int | None = None,
             workers: int | None = None,
             heldout: int | None = None,
             seed: int | None = None,
             resume: bool = False,
             **unknown: Any) -> Path:
    """Pre-train on a folder of images, without labels.

    What it chooses and what it leaves in ``out``: docs/pretrain.md.

    Args:
        out (str | PathLike): Folder of the run, new or empty.
        data (str | Sequence[str]): Folder of images, however nested, or
            several. Not needed to go on with a run.
        model (str): Of :data:`amt_mm.recipe.MODELS`. Default ``'vit-small'``.
        method (str): ``'mae'``, ``'simmim'`` or ``'maskfeat'``. Default mae.
        masking (str): Of :data:`amt_mm.recipe.MASKINGS`. Default ``'amt'``.
        init (str, optional): Weights to begin from: a file, URL, folder of
            transformers, ``'timm:NAME'`` or ``'hf:NAME'``. Defaults to none.
        recipe (str, optional): To go on from an encoder, ``'continue'``, or
            from weights with their decoder, ``'continue-whole'``: see
            docs/pretrain.md. Defaults to ``'scratch'``.
        image_size (int, optional): Height and width. Defaults to 224.
        epochs (int, optional): By default they follow from the images.
        batch_size (int, optional): Of one process. By default it follows from
            the memory, the images and the recipe.
        workers (int, optional): Processes that load. By default the cores.
        heldout (int, optional): Images kept back for the checkups. By default
            1 in 20, 256 at most.
        seed (int, optional): Of weights, masks and crops. Defaults to 0.
        resume (bool): Whether a run in ``out`` goes on; arguments that are not
            given are those of that run. Defaults to False.

    Returns:
        Path: ``out``, in full.

    Raises:
        ValueError: If an argument is wrong, ``out`` is in use, or the run in
            it is another.
        TypeError: If an argument is not known; the message names the nearest.
        ImportError: If a package for what is left in ``out`` is missing.
        OSError: If the report could not be written; all else is.
    """
    check_known(pretrain, unknown)
    given = dict(data=data, model=model, method=method, masking=masking,
                 init=init, recipe=recipe, image_size=image_size,
                 epochs=epochs, batch_size=batch_size, workers=workers,
                 heldout=heldout, seed=seed)
    return pretrain_by(Path(os.path.abspath(Path(out).expanduser())), {
        name: value for name, value in given.items() if value is not None},
        resume)


def pretrain_by(folder: Path, given: dict[str, Any], resume: bool) -> Path:
    """Pre-train in a folder by what is given; return the folder."""
    check_extras()
    is_main = int(os.environ.get('RANK', 0)) == 0
    world_size = int(os.environ.get('WORLD_SIZE', 1))
    stored = settings_of_run(folder, resume) if is_main or resume else {}
    settings = with_full_paths(Settings(**{**stored, **given}), bool(stored))
    if stored:
        check_same_run(folder, settings, stored)
    cfg, picks = run_folder_config(settings, folder, world_size)
    if is_main:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CONFIG) as file:
            file.write(cfg.pretty_text.encode())
        print_log(describe_settings(folder, cfg, picks))
        cfg = Config.fromfile(folder / CONFIG)
    else:  # the same, whether the file is there yet or not
        cfg = Config.fromstring(cfg.pretty_text, '.py')
    train_by(cfg, 'pytorch' if world_size > 1 else 'none')
    if is_main:
        leave_results(folder)
    return folder


def check_known(function: Callable, unknown: dict[str, Any],
                known: Sequence[str] | None = None) -> None:
    """Raise TypeError if an argument is none of a function's."""
    names = known or [
        name for name, parameter in inspect.signature(
            function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    for name in unknown:
        near = difflib.get_close_matches(name, names, 1)
        hint = f' did you mean {near[0]}?' if near else ''
        raise TypeError(f'{function.__name__} takes no {name!r};{hint} It '
                        f'takes {", ".join(names)}.')


def check_extras() -> None:
    """Raise ImportError if what a run leaves could not be written."""
    for package, extra in (('safetensors', 'export'), ('jinja2', 'report'),
                           ('plotly', 'report')):
        if find_spec(package) is None:
            raise ImportError(
                f'{package} is missing, which writes what a run leaves: '
                f"pip install 'amt_mm[{extra}]'.")


def settings_of_run(folder: Path, resume: bool) -> dict[str, Any]:
    """Return the settings of the run in a folder, none where it is empty.

    Raises ValueError if the folder is in use, and the run in it is not to go
    on, or there is none.
    """
    if not folder.exists() or folder.is_dir() and not any(folder.iterdir()):
        return {}
    what = f'out must be a new or an empty folder, got {folder}, which'
    config = folder / CONFIG
    if not config.is_file():
        raise ValueError(f'{what} is not empty and holds no run.')
    if not resume:
        raise ValueError(f'{what} holds a run: pass resume=True to go on with '
                         'it, or name another folder.')
    stored = Config.fromfile(config).get('pretrain')
    if not stored:
        raise ValueError(f'{config} is not of amt_mm.pretrain: go on with its '
                         f'run by tools/train.py {config} --resume.')
    # as runs were before there were settings
    return dict(heldout=0, recipe='scratch') | dict(stored)


def check_same_run(folder: Path, settings: Settings,
                   stored: dict[str, Any]) -> None:
    """Raise ValueError if a run would go on as another."""
    for name in FIXED:
        if getattr(settings, name) != stored[name]:
            raise ValueError(
                f'{name} must be that of the run in {folder} to go on with it,'
                f' {stored[name]!r}, got {getattr(settings, name)!r}.')


def describe_settings(folder: Path, cfg: Config,
                      picks: dict[str, Pick]) -> str:
    """List the settings of a run, and why what was chosen was chosen."""
    why = {name: pick.why for name, pick in picks.items()}
    values = {**cfg.pretrain, 'precision': precision().value}
    why['precision'] = precision().why
    return '\n'.join([f'pretrain in {folder}', *(
        f'  {name} {value}' + (f': {why[name]}.' if name in why else '')
        for name, value in values.items())])


def train_by(cfg: Config, launcher: str) -> None:
    """Train as ``tools/train.py FOLDER/config.py`` does."""
    cfg.launcher = launcher
    set_loaders(cfg)
    fit_machine(cfg)
    run_config(cfg)


def leave_results(folder: Path) -> None:
    """Export the encoder of a run, and write the page about it."""
    export(folder)
    tool = runpy.run_path(str(shipped('tools') / 'report.py'))
    path = sys.path[:]  # the tool adds to it
    try:
        tool['write']([folder])
    except (Exception, SystemExit) as error:
        raise OSError(f'{folder} is complete except for report.html: {error}'
                      ) from error
    finally:
        sys.path[:] = path


def newest_checkpoint(run: str | os.PathLike) -> Path:
    """Return a checkpoint, or the newest of the folder of a run.

    Raises:
        ValueError: If there is none.
    """
    path = Path(run).expanduser()
    if not path.is_dir():
        return path
    found, _ = find_checkpoint(path / CHECKPOINTS, path / POINTER)
    if found is None:
        raise ValueError('run must be a checkpoint, or a folder of '
                         f'amt_mm.pretrain with {CHECKPOINTS}, got {path}.')
    return found


def export(run: str | os.PathLike,
           to: str = 'timm',
           out: str | os.PathLike | None = None,
           **unknown: Any) -> Path:
    """Write the encoder of a run for another library.

    Args:
        run (str | PathLike): Folder of :func:`pretrain`, or a checkpoint.
        to (str): ``'timm'``, ``'hf'``, ``'mmpretrain'``, ``'safetensors'`` or
            ``'onnx'``. Defaults to ``'timm'``.
        out (str | PathLike, optional): What to write; it is replaced where it
            exists. By default ``exported`` in the folder of a run, for timm
            this folder itself, and a name beside a checkpoint.

    Returns:
        Path: What was written.

    Raises:
        ValueError: If it cannot be read, or the library has no such model.
        TypeError: If an argument is not known.
    """
    check_known(export, unknown)
    target = TARGETS[check_choice('to', to, TARGETS)]
    source = newest_checkpoint(run)
    folder = Path(run, EXPORTED)
    default = source.with_name(source.stem + target.ending)
    if Path(run).is_dir():
        default = folder if to == 'timm' else folder / default.name
    path = default if out is None else Path(out).expanduser()
    usage = target.write(open_checkpoint(str(source)), path)
    print_log(f'{path} is written; to load it:\n{usage}')
    return path


def extract(run: str | os.PathLike,
            data: str | os.PathLike,
            out: str | os.PathLike | None = None,
            pool: str = 'cls',
            batch_size: int = 64,
            workers: int = 2,
            **unknown: Any) -> tuple[np.ndarray, list[str]]:
    """Return the features of images, and their names.

    Each image is resized whole. Files that cannot be read are left out. What
    does not fit into memory ``tools/extract.py`` writes.

    Args:
        run (str | PathLike): Folder of :func:`pretrain`, or a checkpoint of
            pre-training.
        data (str | PathLike): Folder of images.
        out (str | PathLike, optional): File for both, that ends in ``.npz``.
        pool (str): ``'cls'``, the class token (N, D), ``'mean'`` of the
            patches (N, D), or ``'map'``, all (N, D, h, w). Defaults to
            ``'cls'``.
        batch_size (int): Images at once. Defaults to 64.
        workers (int): Processes that load. Defaults to 2.

    Returns:
        tuple[np.ndarray, list[str]]: Float32 (N, ...), and paths in ``data``.

    Raises:
        ValueError: If an argument or the checkpoint is wrong.
        FileNotFoundError: If there are no images.
    """
    check_known(extract, unknown)
    if out is not None and Path(out).suffix != '.npz':
        raise ValueError(f'out must end in .npz, got {str(out)!r}.')
    weights = read_weights(str(newest_checkpoint(run)))
    cfg = Config(weights.meta.get('cfg') or {})
    if 'model' not in cfg:
        raise ValueError('run must be a checkpoint of pre-training, which '
                         f'holds its config, got {weights.path}.')
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    images = unlabelled_images(cfg, os.path.expanduser(data))
    with quiet_mmengine():
        model = build_encoder(cfg, weights).to(get_device())
    loader = loader_in_order(images, batch_size, workers)
    listed = list(sample_paths(images))
    blocks = [(features, [listed[i] for i in index])
              for features, index in readable_features(
                  model, loader, pool_of(pool, model))]
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_features(Path(out), blocks)
    return (torch.cat([features for features, _ in blocks]).numpy(),
            [name for _, names in blocks for name in names])


@contextmanager
def quiet_mmengine() -> Iterator[None]:
    """Keep mmengine from telling how each weight was initialised."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


def estimate_cost(config: Config | str | os.PathLike | None = None,
                  **settings: Any) -> CostEstimate:
    """Estimate what a run costs, before it starts; needs no data.

    Args:
        config (Config | str | PathLike, optional): A config, or its file. By
            default it follows from the others.
        **settings: Those of :func:`pretrain`, but for ``out`` and ``resume``.
            Epochs and batch size are those of the recipe, not of the data,
            where they are not given.

    Returns:
        CostEstimate: Its text is the plan that a run prints.

    Raises:
        ValueError: If an argument is wrong, or the run makes no sense.
        TypeError: If an argument is not known.
    """
    names = [field.name for field in fields(Settings)]
    check_known(estimate_cost, {
        name: value for name, value in settings.items() if name not in names},
        ['config', *names])
    if config is None:
        told = Settings(**settings)
        config = base_config(told)
        set_length(config, told)
    elif not isinstance(config, Config):
        config = Config.fromfile(config)
    return engine_cost.estimate_cost(config)
