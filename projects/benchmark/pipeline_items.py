"""The options that make the input faster, and what they do to the pixels."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from amt_mm.datasets.repeat_sampler import RepeatedIndex

from .data_items import CROP, GROUP, NUM_MAPS, pipelines, store_of_maps
from .item import Result, Setting, item
from .saliency_items import write_images
from .step import clock
from .timing import interleave, ratios

SIZE, REPEATS, NUM_IMAGES = 224, 4, 200
GROWTH = 1, 2, 4, 8
WITH_STOCK = ("over those of mmpretrain's pipeline of MAE on the same crops "
              'of the same files.')


def whole(backend: str, **load: Any) -> list[dict]:
    """Configure the steps that decode all of an image."""
    return [
        dict(type='amt_mm.LoadImage', **load),
        dict(type='amt_mm.RandomResizedCropWithBox', scale=SIZE,
             **dict(CROP, backend=backend))]


def reduced(backend: str) -> list[dict]:
    """Configure the step that decodes no finer than the crop needs."""
    return [dict(type='amt_mm.LoadResizedCrop',
                 crop=dict(CROP, scale=SIZE, backend=backend))]


def with_options(folder: str, **options: list[dict]) -> dict[str, Compose]:
    """Build mmpretrain's pipeline, and ours with each option."""
    store = store_of_maps(folder)
    built = dict(stock=pipelines(store)['stock'])
    for name, steps in options.items():
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            built[name] = Compose([
                dict(type='amt_mm.SeedSample'), *steps,
                dict(type='RandomFlip', prob=0.5),
                dict(type='amt_mm.AMTMaskGenerator', input_size=SIZE),
                dict(type='PackInputs',
                     algorithm_keys=('mask_plan', 'saliency'))])
        built[name].transforms[0].set(0, 0)
        built[name].transforms[-2].store = store
    return built


def make_samples(steps: Compose, path: str, index: int,
                 number: int) -> None:
    """Make samples of an image, of the same crops in each pipeline."""
    load = steps.transforms[1]
    if getattr(load, 'keep_last', False):
        load._last = None  # as if another image had come between
    for n in range(number):
        np.random.seed([0, 0, index, n] if n else [0, 0, index])
        random.seed(index)
        steps(dict(img_path=path, sample_idx=RepeatedIndex(index, n)))


def images_of(setting: Setting, folder: str) -> list[str]:
    """Name the JPEGs to read, of our own where there are no others."""
    number = 4 if setting.tiny else NUM_IMAGES
    root = setting.images or write_images(Path(folder), number)
    return sorted(str(p) for p in root.rglob('*')
                  if p.suffix.lower() in ('.jpg', '.jpeg'))[:number]


def rates(built: dict[str, Compose], paths: Sequence[str], setting: Setting,
          number: int = 1) -> dict[str, list[float]]:
    """Return by round the images a second over those of the stock."""
    totals: dict[str, np.ndarray] = dict.fromkeys(
        built, np.zeros(setting.rounds))
    for i, path in enumerate(paths):
        calls = {name: partial(make_samples, steps, path, i % NUM_MAPS, number)
                 for name, steps in built.items()}
        seconds = interleave(calls, setting.rounds, clock=clock())
        totals = {n: total + seconds[n] for n, total in totals.items()}
    stock = totals.pop('stock').tolist()
    return {n: ratios(stock, own.tolist()) for n, own in totals.items()}


@item('pipeline_options', GROUP,
      'Images a second of the whole input pipeline, one process, with '
      'LoadResizedCrop (a reduced decode), with the crop resized by torch in '
      f'place of Pillow, with both, and with {REPEATS} samples of each image '
      f'that RepeatSampler asks for: {WITH_STOCK}')
def pipeline_options(setting: Setting) -> list[Result]:
    """Compare the pipelines image by image."""
    aims = dict(reduced=1.3)
    with tempfile.TemporaryDirectory() as folder:
        paths = images_of(setting, folder)
        found = rates(with_options(
            f'{folder}/maps', reduced=reduced('pillow'), torch=whole('torch'),
            reduced_torch=reduced('torch')), paths, setting)
        again = with_options(
            f'{folder}/maps', repeats=whole('pillow', keep_last=True),
            repeats_torch=whole('torch', keep_last=True))
        found |= rates(again, paths[::REPEATS], setting, REPEATS)
    extra = dict(peer='stock', samples=len(paths),
                 photographs=bool(setting.images))
    return [
        Result.of(f'images_a_second_{name}', values, aim=aims.get(name),
                  at_least=True, extra=dict(extra))
        for name, values in found.items()
    ]


@item('pipeline_growth', GROUP,
      'Images a second by the size of the images, each enlarged by a factor: '
      f'as the configs have it, with LoadResizedCrop, and {WITH_STOCK}')
def pipeline_growth(setting: Setting) -> list[Result]:
    """Compare the pipelines on images of several sizes."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        built = with_options(f'{folder}/maps', ours=whole('pillow'),
                             reduced=reduced('pillow'))
        paths = images_of(setting, folder)[::25]
        for factor in GROWTH[:2] if setting.tiny else GROWTH:
            found = rates(built, enlarged(paths, factor, folder), setting)
            results += [
                Result.of(f'images_a_second_{name}_{factor}x', values,
                          extra=dict(peer='stock', images=len(paths)))
                for name, values in found.items()
            ]
    return results


def enlarged(paths: Sequence[str], factor: int, folder: str) -> list[str]:
    """Write images again, each side longer by a factor."""
    made = []
    for number, path in enumerate(paths):
        made.append(f'{folder}/{factor}x_{number}.jpg')
        with Image.open(path) as image:
            size = image.width * factor, image.height * factor
            image.convert('RGB').resize(size).save(made[-1], quality=90)
    return made


@item('pixels', GROUP,
      'How near the crops of the faster options are to those of Pillow and '
      'the whole image: the peak signal to noise ratio in dB, and the mean '
      'absolute difference in levels of 255, over the crops that differ. A '
      'crop that is too small to be reduced is equal.')
def pixels(setting: Setting) -> list[Result]:
    """Compare the pixels of the crops."""
    options = dict(whole=whole('pillow'), reduced=reduced('pillow'),
                   torch=whole('torch'))
    built = {name: [TRANSFORMS.build(step) for step in steps]
             for name, steps in options.items()}
    crops: dict[str, list[np.ndarray]] = {name: [] for name in built}
    with tempfile.TemporaryDirectory() as folder:
        paths = images_of(setting, folder)
        if not setting.images:  # which are small
            paths = enlarged(paths, 2, folder)
        for seed, path in enumerate(paths):
            for name, steps in built.items():
                np.random.seed(seed)
                results = dict(img_path=path)
                for step in steps:
                    results = step(results)
                crops[name].append(results['img'])  # type: ignore[arg-type]
    expected = crops.pop('whole')
    return [nearness(f'psnr_{name}', own, expected)
            for name, own in crops.items()]


def nearness(name: str, found: list[np.ndarray],
             expected: list[np.ndarray]) -> Result:
    """Sum up how near images are to others."""
    errors = [a.astype(float) - b for a, b in zip(found, expected, strict=True)
              if (a != b).any()]
    psnr = [10 * np.log10(255**2 / np.square(e).mean()) for e in errors]
    mean = float(np.mean([np.abs(e).mean() for e in errors]))
    return Result.of(name, psnr, unit='dB', extra=dict(
        equal=len(found) - len(errors), mean_absolute_difference=round(
            mean, 3)))
