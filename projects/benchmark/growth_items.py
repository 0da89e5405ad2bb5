"""How the step grows with the tokens and with the batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .comparison import compare_steps
from .item import Result, Setting, item
from .step import StepOptions
from .workload import read_config, workloads

GROUP = 'Growth of the step'
BATCHES = 2, 4, 8, 16
SIZES = 160, 224, 320


@item('growth_batch', GROUP,
      "MAE + AMT 45/40 of ViT-S/16 over mmpretrain's MAE in float32, by the "
      'batch.', default=False)
def growth_batch(setting: Setting) -> list[Result]:
    """Compare steps of several batch sizes."""
    batches = BATCHES[:1] if setting.tiny else BATCHES
    return [
        result for batch_size in batches
        for result in grown(f'batch_{batch_size}', 224, batch_size, setting)
    ]


@item('growth_tokens', GROUP,
      'The same, batch 4, by the size of the image.', default=False)
def growth_tokens(setting: Setting) -> list[Result]:
    """Compare steps of several image sizes."""
    sizes = SIZES[:1] if setting.tiny else SIZES
    return [
        result for size in sizes
        for result in grown(f'pixels_{size}', size, 4, setting)
    ]


def grown(name: str, size: int, batch_size: int,
          setting: Setting) -> list[Result]:
    """Compare the steps of one size of image and of batch."""
    cfg = read_config('mae_amt_vit-s_400e_in1k', setting.tiny)
    resize(cfg, size)
    warmup, amt = workloads(cfg)
    found = compare_steps(
        {'stock_75': warmup.stock(), f'mae_s_{name}': amt}, setting,
        StepOptions(batch_size))
    return [
        replace(result, extra={
            **result.extra, 'tokens': (size // 16)**2,
            'seconds_an_image': _each(result.extra['seconds'], batch_size),
            'peer_seconds_an_image': _each(result.extra['peer_seconds'],
                                           batch_size)})
        for result in found
    ]


def resize(cfg: Any, size: int) -> None:
    """Give a config of MAE images of another size."""
    cfg.model.backbone.img_size = size
    cfg.model.neck.num_patches = (size // 16)**2
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'amt_mm.AMTMaskGenerator':
            step.input_size = size


def _each(seconds: float, batch_size: int) -> float:
    return float(f'{seconds / batch_size:.4g}')
