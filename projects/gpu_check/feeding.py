"""The update of the maps, and the input that feeds the steps."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DATASETS
from record import Recorder, Setting, quartiles, read_lines
from steps import timed

from amt_mm.engine.hooks.saliency_update_hook import make_maps
from amt_mm.engine.sources import ModelSaliency
from amt_mm.engine.whole_images import loader_in_order, whole_images
from amt_mm.saliency.store import SaliencyStore
from projects.benchmark.pipeline_items import reduced, whole, with_options
from projects.benchmark.saliency_items import (
    CONFIG,
    both_forwards,
    forward_macs,
    write_images,
)
from projects.benchmark.worker_items import epoch
from projects.benchmark.workload import read_config

EPOCHS, WARMUP, UPDATES = 400, 40, 9


def run_update(setting: Setting, recorder: Recorder) -> None:
    """The saliency forward, and a whole update from files."""
    for dtype in ('bf16', 'fp32'):
        recorder.check(f'saliency_{dtype}', saliency, setting, dtype)
    recorder.check('update', update, setting)


def saliency(setting: Setting, dtype: str) -> dict[str, Any]:
    """Compare with the forward of mmpretrain's ViT on the same images."""
    cfg = read_config(CONFIG, setting.toy)
    load, ours, stock = both_forwards(cfg, setting.device)
    ours.init_weights()
    ours.eval()
    stock.load_state_dict(ours.backbone.state_dict())
    size = setting.pick(256, 2)
    images = load.images(size, setting.device)

    def frozen(forward: Callable[[Any], Any]) -> Callable[[], None]:

        def call() -> None:
            with torch.no_grad(), torch.autocast(
                    setting.device, torch.bfloat16, enabled=dtype == 'bf16'):
                forward(images)

        return call

    seconds, _ = timed(dict(stock=frozen(stock), ours=frozen(ours.saliency)),
                       setting)
    low, ratio, high = quartiles([
        a / b for a, b in zip(seconds['ours'], seconds['stock'], strict=True)])
    middle = [*quartiles(seconds['ours'])][1]
    macs = forward_macs(cfg)
    return dict(batch_size=size, ratio=ratio, low=low, high=high, aim=.95,
                arithmetic_ratio=round(
                    macs['saliency_forward'] / macs['stock_forward'], 4),
                images_a_second=round(size / middle, 1))


def photos(setting: Setting, number: int) -> list[str]:
    """Name JPEGs, photographs where the command has a folder of them."""
    root = setting.scratch / 'photos'
    if not root.exists():
        part = setting.scratch / f'photos-{os.getpid()}'
        part.mkdir(parents=True)
        if setting.photos:
            sources = [p for p in sorted(setting.photos.rglob('*'))
                       if p.suffix.lower() in ('.jpg', '.jpeg')]
        else:
            drawn = setting.scratch / f'drawn-{os.getpid()}'
            drawn.mkdir()
            sources = sorted(write_images(drawn, min(number, 64)).iterdir())
        for i in range(number):
            shutil.copyfile(sources[i % len(sources)], part / f'{i:05}.jpg')
        part.rename(root)
    return sorted(str(path) for path in root.iterdir())[:number]


def update(setting: Setting) -> dict[str, Any]:
    """Make the maps of a folder, and put the rate beside that of the steps."""
    cfg = read_config(CONFIG, setting.toy)
    number = setting.pick(2048, 4)
    root = Path(photos(setting, number)[0]).parent
    _, ours, _ = both_forwards(cfg, setting.device)
    dataset = DATASETS.build(dict(
        type='amt_mm.ImageFolder', data_root=str(root),
        pipeline=cfg.train_dataloader.dataset.pipeline))
    source = ModelSaliency()
    source.model = source.wrapped = ours
    source.preprocess = ours.data_preprocessor
    source.precision = dict(enabled=not setting.toy, dtype=torch.bfloat16,
                            device_type=setting.device)
    number = len(dataset)
    store = SaliencyStore(setting.scratch / f'maps-{os.getpid()}', number,
                          (14, 14), 'check')
    store.reset()
    workers = setting.pick(os.cpu_count() or 1, 0)
    loader = loader_in_order(whole_images(dataset, source.prepare),
                             setting.pick(256, 2), workers)
    start = time.perf_counter()
    store.write(1, make_maps(source, loader, store, True).values, 1)
    seconds = time.perf_counter() - start
    return dict(images=number, workers=workers,
                photographs=bool(setting.photos),
                images_a_second=round(number / seconds, 1),
                **share_of_run(setting))


def share_of_run(setting: Setting) -> dict[str, Any]:
    """Return the share of all updates in a run, as far as the GPU goes."""
    found = {line['check']: line for line in read_lines(setting.results)
             if 'error' not in line and line['device'] == setting.device}
    try:
        sides = found['mae_b_256']['sides']
        forward = 1 / found['saliency_bf16']['images_a_second']
    except KeyError:
        return {}
    steps = WARMUP / sides['ours_75_0']['images_a_second'] + (
        EPOCHS - WARMUP) / sides['amt_45_40']['images_a_second']
    stock = EPOCHS / sides['stock_75']['images_a_second']
    updates = UPDATES * forward
    return dict(share_of_run=round(updates / (updates + steps), 4),
                run_over_stock=round((updates + steps) / stock, 4))


def run_input(setting: Setting, recorder: Recorder) -> None:
    """The input by the number of its workers."""
    cores = os.cpu_count() or 1
    for workers in setting.pick((1, cores // 2, cores), (0,)):
        recorder.check(f'workers_{workers}', workers_feed, setting, workers)


def workers_feed(setting: Setting, workers: int) -> dict[str, Any]:
    """Return the images a second that reach the main process."""
    number = setting.pick(min(2048, 192 * workers), 4)
    paths = photos(setting, setting.pick(2048, 4))[:number]
    folder = setting.scratch / f'input-{os.getpid()}-{workers}'
    built = with_options(
        str(folder / 'maps'),
        ours=whole('pillow'), reduced=reduced('pillow'))
    line: dict[str, Any] = dict(images=number, workers=workers,
                                photographs=bool(setting.photos))
    for name, steps in built.items():
        take = epoch(steps, paths, workers)
        take()  # which starts the workers
        start = time.perf_counter()
        take()
        line[name] = round(number / (time.perf_counter() - start), 1)
    return line

