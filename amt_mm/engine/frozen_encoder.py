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


def build_encoder(cfg: Config, checkpoint: str | Weights,
                  grid: tuple[int, int] | None = None,
                  out_type: str = 'raw') -> Any:
    """Build what gives the tokens of an image, by either kind of config.

    The model of pre-training is taken as it is, a classifier without its neck
    and head, its ``extract_feat`` by default giving tokens (B, 1 + L, D) after
    the final norm. The checkpoint ``'none'`` is random weights.
    """
    model_cfg, is_classifier = cfg.model, bool(evaluation_loader(cfg))
    if is_classifier:
        model_cfg = dict(type='mmpretrain.ImageClassifier', backbone=dict(
            cfg.model.backbone, out_type=out_type, final_norm=True,
            frozen_stages=-1))
    torch.manual_seed(0)
    model = MODELS.build(dict(
        model_cfg,
        backbone=dict(model_cfg['backbone'], init_cfg=None),
        data_preprocessor=cfg.model.get('data_preprocessor') or cfg.get(
            'data_preprocessor')))
    model.init_weights()
    if checkpoint != 'none':
        print_log(load_encoder(model.backbone, checkpoint, grid=grid,
                               assume_own_grid=not is_classifier))
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

    Raises ValueError if it loads no files.
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
