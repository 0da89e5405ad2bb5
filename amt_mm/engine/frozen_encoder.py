"""The encoder of a config, and images in its evaluation pipeline."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS

from amt_mm.datasets.image_folder import EXTENSIONS
from amt_mm.weights import Weights, load_encoder

from .fit_config import without_wrappers
from .whole_images import whole_images

LOADERS = ('LoadImageFromFile', 'mmcv.LoadImageFromFile',
           'mmpretrain.LoadImageFromFile')


def build_classifier(cfg: Config, checkpoint: str | Weights,
                     grid: tuple[int, int] | None = None,
                     out_type: str = 'raw') -> Any:
    """Build the classifier of a config without its neck and head.

    ``checkpoint`` is the file or URL of its encoder, what was read of it, or
    ``'none'`` for random weights; of ``grid`` see
    :func:`amt_mm.weights.load_encoder`. By default, ``extract_feat`` gives
    tokens (B, 1 + L, D) after the final norm.
    """
    backbone = dict(cfg.model.backbone, out_type=out_type, final_norm=True,
                    frozen_stages=-1)
    return _build(cfg, checkpoint, grid, dict(
        type='mmpretrain.ImageClassifier', backbone=backbone))


def build_encoder(cfg: Config, checkpoint: str | Weights,
                  grid: tuple[int, int] | None = None) -> Any:
    """Build what gives the tokens of an image, by either kind of config.

    The model of pre-training is taken as it is. The arguments are those of
    :func:`build_classifier`.
    """
    if evaluation_loader(cfg):
        return build_classifier(cfg, checkpoint, grid)
    return _build(cfg, checkpoint, grid, cfg.model, assume_own_grid=True)


def _build(cfg: Config, checkpoint: str | Weights,
           grid: tuple[int, int] | None, model_cfg: dict,
           assume_own_grid: bool = False) -> Any:
    """Build a model, and load its encoder."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get(
        'data_preprocessor')
    torch.manual_seed(0)
    model = MODELS.build(dict(
        model_cfg,
        backbone=dict(model_cfg['backbone'], init_cfg=None),
        data_preprocessor=preprocessor))
    model.init_weights()
    if checkpoint != 'none':
        print_log(load_encoder(model.backbone, checkpoint, grid=grid,
                               assume_own_grid=assume_own_grid))
    return model


def evaluation_loader(cfg: Config) -> Any:
    """Return the config of the loader that is not the training's, or None."""
    return cfg.get('val_dataloader') or cfg.get('test_dataloader')


def evaluation_pipeline(cfg: Config) -> list[dict]:
    """Return the pipeline that images are evaluated by, with our loading."""
    # of the same arguments, and with errors for damaged files
    return [
        dict(step, type='amt_mm.LoadImage') if step['type'] in LOADERS
        else step for step in next(without_wrappers(
            evaluation_loader(cfg).dataset)).pipeline
    ]


def unlabelled_images(cfg: Config, folder: str) -> BaseDataset:
    """Return the images below a folder, whole, in the pipeline of a config.

    By that of evaluation where a config has one, else by that of training
    without its crop. Raises ValueError if it loads no files, as those of data
    sets that hold arrays do not.
    """
    pipeline = evaluation_pipeline(cfg) if evaluation_loader(cfg) else \
        next(without_wrappers(cfg.train_dataloader.dataset)).pipeline
    loader = cfg.get('train_dataloader') or evaluation_loader(cfg)
    extensions = next(without_wrappers(loader.dataset)).get(
        'extensions', EXTENSIONS)
    if not any('Load' in step['type'] for step in pipeline):
        raise ValueError(
            "the config's pipeline must load images from files, by "
            'amt_mm.LoadImage or LoadImageFromFile, got '
            f'{[step["type"] for step in pipeline]}.')
    images = DATASETS.build(dict(
        type='amt_mm.ImageFolder', data_root=folder, pipeline=pipeline,
        extensions=extensions))
    return images if evaluation_loader(cfg) else whole_images(images)
