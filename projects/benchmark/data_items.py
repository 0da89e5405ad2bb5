"""The input: plans, the pipeline of a sample, and the store of maps."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.dataset.utils import default_collate
from mmengine.registry import TRANSFORMS, DefaultScope
from mmpretrain.structures import DataSample

from amt_mm.saliency import SaliencyStore

from .item import Result, Setting, item
from .saliency_items import write_images
from .step import clock
from .timing import interleave, ratios

CROP = dict(crop_ratio_range=(0.2, 1.0), backend='pillow',
            interpolation='bicubic')
NUM_MAPS, IMAGE = 64, (375, 500)
GROUP = 'Input'


def repeat(call: Callable[[int], object], number: int) -> Callable[[], None]:
    """Return what calls a function with 0, 1, ..., as one measurement."""

    def calls() -> None:
        for i in range(number):
            call(i)

    return calls


def store_of_maps(folder: str) -> SaliencyStore:
    """Write a store of random maps of 14 x 14."""
    store = SaliencyStore(folder, NUM_MAPS, (14, 14), 'bench')
    store.reset()
    store.write(1, np.random.default_rng(0).random((NUM_MAPS, 14, 14)))
    return store


def interpolated_plan(store: SaliencyStore, index: int,
                      box: tuple[float, ...]) -> torch.Tensor:
    """Do the same the plain way: resize to the image, crop, sum, draw."""
    height, width = IMAGE
    saliency_map = np.asarray(store.read(index), np.float32)
    whole = cv2.resize(saliency_map, (width, height))
    left, top, right, bottom = (
        round(share * side)
        for share, side in zip(box, (width, height) * 2, strict=True))
    crop = cv2.resize(whole[top:bottom, left:right], (224, 224))
    weights = crop.reshape(14, 16, 14, 16).sum((1, 3)).ravel()
    return torch.multinomial(torch.from_numpy(weights), 166)


@item('mask_generator', GROUP,
      'AMTMaskGenerator for one sample, the look-up of its map included: over '
      "mmpretrain's SimMIMMaskGenerator, which looks at no map, and over the "
      'plain way (resize the map to a 500 x 375 image, crop, resize to 224, '
      'sum over each patch, torch.multinomial). Its time is that which one '
      'CPU spent.')
def mask_generator(setting: Setting) -> list[Result]:
    """Compare plans made in two ways, and with plans without saliency."""
    number = 20 if setting.tiny else 500
    box = (0.1, 0.2, 0.8, 0.9)
    simmim = TRANSFORMS.build(dict(
        type='mmpretrain.SimMIMMaskGenerator', input_size=224,
        mask_patch_size=32, model_patch_size=16, mask_ratio=0.6))
    ours = TRANSFORMS.build(dict(
        type='amt_mm.AMTMaskGenerator', input_size=224))
    with tempfile.TemporaryDirectory() as folder:
        ours.store = store = store_of_maps(folder)
        seconds = interleave(dict(
            simmim=repeat(lambda i: simmim({}), number),
            interpolated=repeat(lambda i: interpolated_plan(
                store, i % NUM_MAPS, box), number),
            ours=repeat(lambda i: ours(dict(
                sample_idx=i % NUM_MAPS, crop_box=box)), number)),
            setting.rounds, clock=clock())
    us = [1e6 * s / number for s in seconds['ours']]
    return [
        Result.of('plan_over_plain_way',
                  ratios(seconds['ours'], seconds['interpolated']), aim=0.1),
        Result.of('plan_over_simmim',
                  ratios(seconds['ours'], seconds['simmim'])),
        Result.of('plan', us, aim=60, unit='us'),
    ]


def pipelines(store: SaliencyStore) -> dict[str, Compose]:
    """Build mmpretrain's pipeline of MAE and ours."""
    stock = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=224, **CROP),
        dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
    ours = [
        dict(type='amt_mm.SeedSample'), dict(type='amt_mm.LoadImage'),
        dict(type='amt_mm.RandomResizedCropWithBox', scale=224, **CROP),
        dict(type='RandomFlip', prob=0.5),
        dict(type='amt_mm.AMTMaskGenerator', input_size=224),
        dict(type='PackInputs', algorithm_keys=('mask_plan', 'saliency'))]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = dict(stock=Compose(stock), ours=Compose(ours))
    built['ours'].transforms[0].set(0, 0)
    built['ours'].transforms[4].store = store
    return built


def run_steps(steps: Compose, sample: dict[str, Any]) -> None:
    """Make one sample, of the same crop in each pipeline and round."""
    np.random.seed((0, 0, sample['sample_idx']))  # as SeedSample does
    random.seed(sample['sample_idx'])
    steps(dict(sample))


def num_handles(batch: Any) -> int:
    """Count the tensors, each of which crosses to the main process alone."""
    if isinstance(batch, torch.Tensor):
        return 1
    if isinstance(batch, DataSample):
        batch = dict(batch.all_items())
    if isinstance(batch, dict):
        batch = list(batch.values())
    return sum(map(num_handles, batch)) if isinstance(
        batch, (list, tuple)) else 0


@item('pipeline', GROUP,
      'Images a second of the whole input pipeline (read, decode, crop and '
      'resize, flip, plan, pack), one process, over those of '
      "mmpretrain's pipeline of MAE on the same files at the same time. And "
      'what a batch of 64 costs on its way to the main process beside its '
      'images: pickled bytes, and tensors, each with a handle of its own.')
def pipeline(setting: Setting) -> list[Result]:
    """Compare the pipelines image by image."""
    number = 4 if setting.tiny else 64
    with tempfile.TemporaryDirectory() as folder:
        root = setting.images or write_images(Path(folder), number)
        paths = sorted(p for p in root.rglob('*') if p.suffix.lower() in
                       ('.jpg', '.jpeg'))[:number]
        built = pipelines(store_of_maps(f'{folder}/maps'))
        totals: dict[str, np.ndarray] = dict.fromkeys(
            built, np.zeros(setting.rounds))
        for index, path in enumerate(paths):
            sample = dict(img_path=str(path), sample_idx=index % NUM_MAPS)
            seconds = interleave(
                {name: partial(run_steps, steps, sample)
                 for name, steps in built.items()}, setting.rounds,
                clock=clock())
            totals = {name: total + seconds[name]
                      for name, total in totals.items()}
        values = ratios(totals['stock'].tolist(), totals['ours'].tolist())
        batches = {
            name: default_collate([
                steps(dict(img_path=str(p), sample_idx=i % NUM_MAPS))
                for i, p in enumerate(paths)])['data_samples']
            for name, steps in built.items()}
    sent = {name: len(ForkingPickler.dumps(batch))
            for name, batch in batches.items()}
    extra = {f'handles_{name}': num_handles(b) for name, b in batches.items()}
    extra |= {f'bytes_{name}': size for name, size in sent.items()}
    extra |= dict(images=len(paths), photographs=bool(setting.images))
    return [Result.of('images_a_second', values, aim=0.97, at_least=True,
                      extra=dict(peer='stock', **extra))]
