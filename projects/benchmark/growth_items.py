"""How the step grows with tokens and batch, and the start with images."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, init_default_scope

from .comparison import compare_steps
from .item import Result, Setting, item
from .saliency_items import write_images
from .step import StepOptions
from .workload import read_config, workloads

GROUP = 'Growth of the step'
BATCHES = 2, 4, 8, 16
SIZES = 160, 224, 320
FOLDERS = 1_000, 10_000, 100_000, 1_000_000
PER_FOLDER = 1_000
# its processes are forked from one that has done nothing but imports
FRESH = get_context('forkserver')
FRESH.set_forkserver_preload(['mmpretrain.models', 'mmpretrain.datasets'])


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


@item('folder_growth', 'Input',
      'The start of a run by the number of images in its folder, 1,000 in '
      'each of its folders, in a process of its own: seconds to build '
      'ImageFolder, on the wall; seconds to the first batch of 32 samples; '
      'and what the process has grown by, in MB. The names are links to a few '
      'small JPEGs, and lie in the cache of the system.', default=False)
def folder_growth(setting: Setting) -> list[Result]:
    """Build the data set of more and more images."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / 'files'
        files.mkdir()
        write_images(files, 32)  # a file has 65,000 names at most
        for number in (10, 20) if setting.tiny else FOLDERS:
            root = Path(folder) / str(number)
            link_images(files, root, number)
            rounds = [in_new_process(start_of, str(root))
                      for _ in range(setting.rounds)]
            for name, unit, values in zip(
                    ('build', 'first_batch', 'grown_by'), ('s', 's', 'MB'),
                    zip(*rounds, strict=True), strict=True):
                results.append(Result.of(f'folder_{name}_{number}', values,
                                         unit=unit, extra=dict(
                                             images=number)))
    return results


def link_images(source: Path, root: Path, number: int) -> None:
    """Give the files of a folder many names."""
    files = sorted(path for path in source.rglob('*') if path.is_file())
    for i in range(number):
        folder = root / f'{i // PER_FOLDER:04d}'
        if not i % PER_FOLDER:
            folder.mkdir(parents=True)
        os.link(files[i % len(files)], folder / f'{i:07d}.jpg')


def in_new_process(call: Any, *args: Any) -> Any:
    """Call a function in a process that has done nothing but imports."""
    with ProcessPoolExecutor(1, FRESH) as pool:
        return pool.submit(call, *args).result()


def start_of(root: str) -> tuple[float, float, float]:
    """Build the data set and make a batch of it."""
    cfg = read_config('mae_amt_vit-s_custom')
    init_default_scope('mmpretrain')
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'amt_mm.AMTMaskGenerator':
            step.ordering = dict(type='amt_mm.RandomOrdering')
    described = dict(cfg.train_dataloader.dataset.to_dict(), data_root=root)
    before, start = resident_mb(), time.perf_counter()
    dataset = DATASETS.build(described)
    built = time.perf_counter() - start
    dataset.pipeline.transforms[0].set(0, 0)  # the epoch and the seed
    step = max(1, len(dataset) // 32)
    default_collate([dataset[i] for i in range(0, len(dataset), step)[:32]])
    return built, time.perf_counter() - start - built, resident_mb() - before


def resident_mb() -> float:
    """Return the memory that this process has, in MB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6
