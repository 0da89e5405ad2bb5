"""Saliency: the forward over a stock one, and a refresh of a whole folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS, MODELS
from PIL import Image
from torch import Tensor

from amt_mm.engine.cost import count_macs, estimate_cost
from amt_mm.engine.hooks.saliency_update_hook import make_maps
from amt_mm.engine.sources import ModelSaliency
from amt_mm.engine.whole_images import loader_in_order, whole_images
from amt_mm.saliency.store import SaliencyStore

from .comparison import compare
from .item import Result, Setting, item
from .step import clock, device, wait
from .timing import interleave
from .workload import read_config, stock_config, workloads

CONFIG = 'mae_amt_vit-b_400e_in1k'


def frozen(forward: Callable[[Tensor], Any],
           images: Tensor) -> Callable[[], None]:
    """Return a call of a forward without gradients, and the wait for it."""

    @torch.no_grad()
    def call() -> None:
        forward(images)
        wait()

    return call


def both_forwards(cfg: Any, where: str) -> tuple[Any, Any, Any]:
    """Build our model and mmpretrain's plain ViT of the same weights."""
    load, _ = workloads(cfg)
    ours = load.build(where)
    backbone = stock_config(load.model['backbone'])
    backbone.update(type='mmpretrain.VisionTransformer')
    backbone.pop('mask_ratio', None)
    with torch.device(where):
        stock = MODELS.build(backbone)
    ours.eval()
    stock.eval()
    return load, ours, stock


def forward_macs(cfg: Any) -> dict[str, int]:
    """Count both forwards, for one image."""
    load, ours, stock = both_forwards(cfg, 'meta')
    images = load.images(1, 'meta')
    return dict(
        stock_forward=count_macs(frozen(stock, images))[0],
        saliency_forward=count_macs(frozen(ours.saliency, images))[0])


@item('saliency', 'Saliency',
      'The saliency of 8 images by ViT-B/16 over the forward of '
      "mmpretrain's VisionTransformer of the same weights on the same "
      'images, float32, no gradients, taken in turn. On a CPU, seconds are '
      'those that the process had the CPU for.')
def saliency(setting: Setting) -> list[Result]:
    """Compare the saliency with a full forward."""
    cfg = read_config(CONFIG, setting.tiny)
    load, ours, stock = both_forwards(cfg, device())
    stock.load_state_dict(ours.backbone.state_dict())
    batch_size = 2 if setting.tiny else 8
    images = load.images(batch_size, device())
    calls = dict(
        stock_forward=frozen(stock, images),
        saliency_forward=frozen(ours.saliency, images))
    seconds = interleave(calls, setting.rounds, clock=clock())
    return compare(
        seconds, dict(saliency_forward=.95), forward_macs(cfg),
        batch_size=batch_size, precision='fp32')


@item('refresh', 'Saliency',
      'The refresh of a whole folder: reading, decoding, resizing, the '
      'saliency by ViT-B/16 in float32 and the write of the store, without '
      "workers, over the forward of mmpretrain's VisionTransformer on as "
      'many images that are in memory. Its share of a run of 400 epochs is '
      'arithmetic: the multiply-accumulates of all refreshes over those of '
      'the run. On a CPU, seconds are those that the process had the CPU for.')
def refresh(setting: Setting) -> list[Result]:
    """Compare a refresh with stock forwards, and work out its share."""
    cfg = read_config(CONFIG, setting.tiny)
    load, ours, stock = both_forwards(cfg, device())
    batch_size = 2 if setting.tiny else 8
    with tempfile.TemporaryDirectory() as folder:
        call, num_images = refresher(cfg, ours, setting, folder, batch_size)
        one = frozen(stock, load.images(batch_size, device()))
        calls = dict(
            stock_forward=lambda: [
                one() for _ in range(num_images // batch_size)
            ],
            refresh=call)
        seconds = interleave(calls, setting.rounds, clock=clock())
    macs = forward_macs(cfg)
    macs['refresh'] = macs['saliency_forward']
    results = compare(seconds, {}, macs, images=num_images,
                      batch_size=batch_size, precision='fp32')
    return [*results, share_of_run(read_config(CONFIG))]


def refresher(cfg: Any, model: Any, setting: Setting, folder: str,
              batch_size: int) -> tuple[Callable[[], None], int]:
    """Return what makes the maps of a folder anew, and of how many images."""
    num_images = 4 if setting.tiny else 24
    images = setting.images or write_images(Path(folder), num_images)
    loaded = cfg.train_dataloader.dataset
    dataset = DATASETS.build(dict(
        type='amt_mm.ImageFolder', data_root=str(images),
        pipeline=loaded.pipeline))
    num_images = min(num_images, len(dataset)) // batch_size * batch_size
    dataset = dataset.get_subset([*range(num_images)])
    source = ModelSaliency()
    source.model = source.wrapped = model
    source.preprocess = model.data_preprocessor
    source.precision = dict(enabled=False)
    store = SaliencyStore(Path(folder, 'maps'), num_images, (14, 14), 'bench')
    store.reset()
    loader = loader_in_order(
        whole_images(dataset, source.prepare), batch_size, 0)
    numbers = iter(range(10**6))

    def call() -> None:
        maps = make_maps(source, loader, store, True)
        store.write(next(numbers), maps.values, 1)

    return call, num_images


def write_images(folder: Path, num_images: int) -> Path:
    """Write JPEGs of blurred noise, of ImageNet's most common size."""
    rng = np.random.default_rng(0)
    for number in range(num_images):
        blocks = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((500, 375))
        image.save(folder / f'{number}.jpg')
    return folder


def share_of_run(cfg: Any) -> Result:
    """Return the share that all refreshes have in a run, by arithmetic."""
    plan = estimate_cost(cfg)
    saliency = len(plan.updates) * plan.saliency_macs
    whole = saliency + sum(p.epochs * p.macs for p in plan.phases)
    share = saliency / whole
    return Result(
        'refreshes_of_400_epochs', share, (share, share), 1, .02,
        extra=dict(refreshes=len(plan.updates), epochs=400,
                   run_over_stock=round(plan.cost, 4)))
