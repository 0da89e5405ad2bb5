"""Files of a run that nobody trained, as long as the paper's."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from math import cos, exp, pi
from pathlib import Path

import numpy as np
from PIL import Image
from small_configs import read_config

BATCHES, INTERVAL = 312, 100
START = datetime(2026, 1, 1)


def write_long_run(root: Path, num_epochs: int = 400, seed: int = 0,
                   num_pictures: int = 40) -> Path:
    """Write a work dir in the formats of mmengine and of the hooks."""
    session = root / '20260101_000000'
    images = session / 'vis_data' / 'vis_image'
    images.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    read_config('mae_amt_vit-b_400e_in1k').dump(
        session / 'vis_data' / 'config.py')
    with open(session / 'vis_data' / 'scalars.json', 'w') as file:
        for record in records(num_epochs, rng):
            file.write(json.dumps(record) + '\n')
    write_log(session / '20260101_000000.log', num_epochs)
    for step in np.linspace(0, num_epochs, num_pictures).astype(int):
        blocks = rng.integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(blocks).resize((960, 720)).save(
            images / f'panels_{step}.png')
    return root


def records(num_epochs, rng):
    """Yield what the hooks log, in its order."""
    for epoch in range(num_epochs):
        done = epoch / num_epochs
        begun = epoch >= 40
        if begun and epoch % 40 == 0:
            yield {'saliency/entropy': 0.95 - 0.1 * done,
                   'saliency/uniform': 0, 'saliency/seconds': 212.,
                   'epoch': epoch, 'step': epoch}
        for batch in range(INTERVAL, BATCHES + 1, INTERVAL):
            yield step(epoch, batch, done, begun, rng)
        if (epoch + 1) % 10 == 0:
            yield {'probe/knn_top1': 50 * (1 - exp(-5 * done)),
                   'probe/linear_top1': 61 * (1 - exp(-5 * done)),
                   'epoch': epoch + 1, 'step': epoch + 1}


def step(epoch, batch, done, begun, rng):
    """Return one line of training."""
    iteration = epoch * BATCHES + batch
    record = {
        'base_lr': 2.4e-3 * (1 + cos(pi * done)) / 2,
        'lr': 2.4e-3 * (1 + cos(pi * done)) / 2,
        'data_time': 0.02 + 0.005 * rng.random(),
        'loss': 0.4 + 0.6 * exp(-6 * done) + 0.004 * rng.standard_normal(),
        'time': (0.36 if begun else 0.58) + 0.01 * rng.random(),
    }
    if begun:
        masked = 0.45 + 0.1 * done + 0.01 * rng.standard_normal()
        record |= {'p_masked_salient': masked, 'p_thrown_salient': 0.4,
                   'p_visible_salient': 0.6 - masked}
    return {**record, 'epoch': epoch + 1, 'iter': iteration, 'memory': 31_000,
            'step': iteration}


def write_log(path, num_epochs):
    """Write the lines of a log that a report reads, and many others."""
    lines = ['System environment:', '    GPU 0: NVIDIA A100', '',
             '    PyTorch: 2.11.0', '    GPU number: 8']
    for epoch in range(num_epochs):
        time = START + timedelta(seconds=120 * epoch)
        for batch in range(INTERVAL, BATCHES + 1, INTERVAL):
            lines.append(
                f'{time:%Y/%m/%d %H:%M:%S} - mmengine - INFO - Epoch(train) '
                f'[{epoch + 1}][{batch}/{BATCHES}]  lr: 1.0e-03  loss: 0.5')
        if epoch % 100 == 99:
            lines.append(
                f'{time:%Y/%m/%d %H:%M:%S} - mmengine - WARNING - skipped 2 of'
                f' 1,281,167 images that cannot be read; 1 new, 20 at most '
                f'shown:\n  n{epoch:08d}.JPEG')
    path.write_text('\n'.join(lines) + '\n')
