"""The settings of a pre-training, and the config that they stand for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, init_default_scope

from amt_mm.arguments import (
    check_batch_size,
    check_choice,
    check_int,
    check_multiple,
    check_num_workers,
    optional,
)
from amt_mm.engine.fit_size import (
    Pick,
    pick_batch_size,
    pick_epochs,
    pick_heldout,
    pick_workers,
)
from amt_mm.weights import read_weights
from amt_mm.weights.hub import SCHEMES, fetch
from amt_mm.weights.layouts import NECK

# name -> mmpretrain's name of the architecture
MODELS = {
    'vit-tiny': 'deit-tiny',
    'vit-small': 'deit-small',
    'vit-base': 'base',
    'vit-large': 'large',
}
PRESETS = {
    'mae': 'mae_amt_vit-b_custom.py',
    'simmim': 'simmim_amt_vit-s_custom.py',
    'maskfeat': 'maskfeat_amt_vit-s_custom.py',
}
LIGHT_MAE = 'mae_amt_vit-s_custom.py'  # with a light decoder
MASKINGS = ('amt', 'am', 'random', 'random-throw', 'pixel-amt', 'detail-am')
# whose saliency is of the pixels, known at once and never changed
PIXEL_MASKINGS = {'pixel-amt': 'rbd', 'detail-am': 'detail'}
RECIPES = ('scratch', 'continue', 'continue-whole')
# of the recipes that go on: as measured in batches of 64, for any batch
CONTINUE_LR, LAYER_DECAY = 6e-4, 0.65
PATCH_SIZE = 16
CHECKPOINTS = 'checkpoints'
CHECKUPS = 20  # of a run


@dataclass(frozen=True)
class Settings:
    """What :func:`amt_mm.pretrain` is told, but for the folder of the run."""

    data: str | Sequence[str] | None = None
    model: str = 'vit-small'
    method: str = 'mae'
    masking: str = 'amt'
    init: str | None = None
    recipe: str = 'scratch'
    image_size: int = 224
    epochs: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    heldout: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError or TypeError if one of them is wrong."""
        check_choice('model', self.model, MODELS)
        check_choice('method', self.method, PRESETS)
        check_choice('masking', self.masking, MASKINGS)
        check_choice('recipe', self.recipe, RECIPES)
        if self.recipe != 'scratch' and self.init is None:
            raise ValueError(f'recipe={self.recipe!r} needs init, the weights '
                             'to go on from, got none.')
        optional(partial(check_int, low=1))('epochs', self.epochs)
        check_batch_size('batch_size', self.batch_size)
        check_num_workers('workers', self.workers)
        optional(partial(check_int, low=0))('heldout', self.heldout)
        check_int('seed', self.seed, 0)
        # SimMIM masks cells of 2 x 2 patches
        unit = PATCH_SIZE * (2 if self.method == 'simmim' else 1)
        check_int('image_size', self.image_size, 2 * unit)
        check_multiple('image_size', self.image_size, unit, f'{unit} pixels')


def with_full_paths(settings: Settings, has_begun: bool = False) -> Settings:
    """Return settings that mean the same in any folder.

    Args:
        settings (Settings): Those of a call.
        has_begun (bool): Whether a run goes on, so that the weights it began
            from are no longer needed. Defaults to False.

    Raises:
        ValueError: If ``data`` is no folder, ``init`` does not exist, or it
            lacks the decoder that the recipe goes on from.
    """
    given = settings.data
    folders = [given] if isinstance(given, (str, os.PathLike)) else given or ()
    paths = [os.path.abspath(os.path.expanduser(path)) for path in folders]
    wrong = [path for path in paths if not os.path.isdir(path)]
    if wrong or not paths:
        raise ValueError('data must be a folder of images, or several, got '
                         f'{[*wrong, given][0]!r}, which is not a folder.')
    init = settings.init
    if init is not None and init.startswith(SCHEMES):
        if not has_begun:  # tells what cannot be had before it starts
            fetch(init)
    elif init is not None and '://' not in init:
        init = os.path.abspath(os.path.expanduser(init))
        if not has_begun and not os.path.exists(init):
            raise ValueError('init must be a file, a folder of transformers, '
                             'a URL, timm:NAME or hf:NAME, got '
                             f'{settings.init!r}, which does not exist.')
    if settings.recipe == 'continue-whole' and not has_begun and not any(
            key.startswith(NECK) for key in read_weights(str(init)).others):
        raise ValueError("recipe='continue-whole' needs init with a decoder, "
                         f"got none in {init}; 'continue' goes on from an "
                         'encoder alone.')
    return replace(settings, data=paths if len(paths) > 1 else paths[0],
                   init=init)


def base_config(settings: Settings) -> Config:
    """Return the config of model, method and masks, with no data or length."""
    small = settings.method == 'mae' and \
        settings.model in ('vit-tiny', 'vit-small')
    name = LIGHT_MAE if small else PRESETS[settings.method]
    cfg = Config.fromfile(shipped('configs') / name)
    cfg.model.backbone.update(
        arch=MODELS[settings.model], img_size=settings.image_size)
    for key in ('embed_dim', 'in_channels'):  # follow from the backbone
        cfg.model.neck.pop(key, None)
    if settings.method == 'mae':
        side = settings.image_size // PATCH_SIZE
        cfg.model.neck.num_patches = side * side
    steps = {step['type']: step for step in pipeline_of(cfg)}
    steps['amt_mm.RandomResizedCropWithBox'].scale = settings.image_size
    generator = steps['amt_mm.AMTMaskGenerator']
    generator.input_size = settings.image_size
    set_masking(cfg, generator, settings.masking)
    if settings.recipe != 'scratch':
        set_continue(cfg, decay=settings.recipe == 'continue')
    cfg.train_pipeline = pipeline_of(cfg)
    return cfg


def pipeline_of(cfg: Config) -> list[Any]:
    """Return the training pipeline of a config."""
    return cfg.train_dataloader.dataset.pipeline


def set_masking(cfg: Config, generator: Any, masking: str) -> None:
    """Turn a config of AMT into one of another strategy."""
    if masking in ('am', 'random', 'detail-am'):  # throws nothing
        generator.update(
            mask_ratio=generator.warmup_mask_ratio, throw_ratio=0.)
    if masking.startswith('random'):
        generator.ordering = dict(type='amt_mm.RandomOrdering')
        unused = 'amt_mm.SaliencyUpdateHook', 'amt_mm.MaskStatisticsHook'
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks
                            if hook['type'] not in unused]
    if masking in PIXEL_MASKINGS:
        once = ConfigDict(
            type='amt_mm.SaliencyUpdateHook', begin=0,
            source=dict(type='amt_mm.PixelSaliency',
                        method=PIXEL_MASKINGS[masking]))
        cfg.custom_hooks = [once if hook['type'] == once.type else hook
                            for hook in cfg.custom_hooks]


def set_continue(cfg: Config, decay: bool) -> None:
    """Use the saliency of the given encoder, if any, at once.

    The rate is the one that was measured (docs/study.md). With ``decay``, it
    falls layer by layer, which keeps what the encoder knows from a decoder
    that is new.
    """
    cfg.optim_wrapper.optimizer.lr = CONTINUE_LR
    cfg.pop('auto_scale_lr')
    for hook in cfg.custom_hooks:
        if hook['type'] == 'amt_mm.SaliencyUpdateHook':
            hook.begin = 0
    if decay:
        cfg.optim_wrapper.constructor = \
            'amt_mm.LayerDecayOptimWrapperConstructor'
        cfg.optim_wrapper.setdefault('paramwise_cfg', ConfigDict()).update(
            layer_decay_rate=LAYER_DECAY)


def run_folder_config(settings: Settings, folder: Path, world_size: int = 1
                      ) -> tuple[Config, dict[str, Pick]]:
    """Return the config of a run in a folder, and what was chosen for it.

    ``settings`` have full paths. The config holds them, those that were chosen
    too, as ``pretrain``.
    """
    cfg = base_config(settings)
    init_default_scope(cfg.default_scope)  # another run may have set its own
    dataset = cfg.train_dataloader.dataset
    cfg.data_root = dataset.data_root = settings.data
    picks: dict[str, Pick] = {}
    if None in (settings.epochs, settings.batch_size, settings.workers,
                settings.heldout):
        num = len(DATASETS.build(dict(dataset, lazy_init=True)
                                 ).load_data_list())
        choose = dict(
            heldout=lambda: pick_heldout(num),
            epochs=lambda: pick_epochs(num),
            batch_size=lambda: pick_batch_size(cfg, num, world_size),
            workers=lambda: pick_workers(world_size))
        picks = {name: pick() for name, pick in choose.items()
                 if getattr(settings, name) is None}
    settings = replace(settings, **{
        name: pick.value for name, pick in picks.items()})
    set_length(cfg, settings)
    dataset.num_heldout = settings.heldout
    cfg.default_hooks.checkup = dict(
        type='amt_mm.CheckupHook',
        interval=max(1, cfg.train_cfg.max_epochs // CHECKUPS))
    cfg.work_dir, cfg.load_from = str(folder), settings.init
    cfg.randomness.seed = settings.seed
    cfg.default_hooks.checkpoint.filename_tmpl = \
        CHECKPOINTS + '/epoch_{}.pth'
    cfg.visualizer.vis_backends = [
        dict(type='LocalVisBackend'), dict(type='amt_mm.MetricsVisBackend')]
    cfg.pretrain = asdict(settings)
    return cfg, picks


def set_length(cfg: Config, settings: Settings) -> None:
    """Set epochs, batch size and workers that are given."""
    loader = cfg.train_dataloader
    loader.batch_size = settings.batch_size or loader.batch_size
    if settings.workers is not None:
        loader.num_workers = settings.workers
    cfg.train_cfg.max_epochs = settings.epochs or cfg.train_cfg.max_epochs
    warmup = cfg.param_scheduler[0]
    warmup.end = min(warmup.end, max(1, cfg.train_cfg.max_epochs // 10))


def shipped(name: str) -> Path:
    """Return a folder or file that lies beside the package or in its wheel."""
    package = Path(__file__).resolve().parent
    inside = package / '.mim'
    return (inside if inside.is_dir() else package.parent) / name
