"""What the workers of a run draw, read and report."""

from __future__ import annotations

import os

import numpy as np
import pytest
from image_bytes import UNUSUAL, bombs, encode, noise
from tiny_run import (
    CROSS,
    NUM_IMAGES,
    WORKERS,
    log_of,
    loss_trace,
    store_of,
)

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.training_set import unwrap

BROKEN = {
    'empty.jpg': b'', 'text.jpg': b'no image',
    'cut.jpg': encode(noise(), 'JPEG')[:-40],
    'cut.png': encode(noise(), 'PNG')[:-40],
    'flipped.png': encode(noise(), 'PNG')[:-50] + bytes(50),
    **{f'bomb_{name}': content for name, content in bombs().items()}
}


def faster(cfg):
    """Let a config decode less, resize by torch and repeat its images.

    It predicts a part of what is masked, which is drawn, too.
    """
    cfg.merge_from_dict(CROSS)
    steps = cfg.train_dataloader.dataset.pipeline
    crop = {**steps[2], 'backend': 'torch', 'interpolation': 'bicubic'}
    crop.pop('type')
    steps[1:3] = [dict(type='amt_mm.LoadResizedCrop', crop=crop,
                       keep_last=True)]
    cfg.train_dataloader.sampler = dict(
        type='amt_mm.RepeatSampler', num_repeats=2)
    return cfg


@pytest.mark.parametrize('change', [lambda cfg: cfg, faster],
                         ids=['plain', 'faster'])
def test_number_of_workers_changes_nothing(tiny_cfg, run, change):
    """Augmentation and plan belong to the sample, not to its worker."""
    options = {'train_cfg.max_epochs': 2}
    runner = run(change(tiny_cfg('two', **WORKERS, **options)))
    losses = loss_trace(runner)
    # an epoch has as many samples as ever
    assert len(losses) == 2 * -(-NUM_IMAGES // 4)
    assert all(store_of(runner).read(i).max() == 1 for i in range(NUM_IMAGES))
    alone = run(change(tiny_cfg('none', **options)))
    np.testing.assert_array_equal(loss_trace(alone), losses)


def test_a_run_on_odd_damaged_and_hostile_files(tiny_cfg, run, tmp_path):
    data = tmp_path / 'data'
    data.mkdir()
    for name, content in {**UNUSUAL, **BROKEN}.items():
        (data / name).write_bytes(content)
    os.mkfifo(data / 'pipe.jpg')
    (data / 'dangling.jpg').symlink_to('nowhere')
    (data / 'folder.jpg').mkdir()
    endings = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.pgm',
               '.pbm', '.tif', '.tiff', '.gif', '.avif')
    runner = run(tiny_cfg(**WORKERS, **{
        'train_dataloader.dataset.data_root': str(data),
        'train_dataloader.dataset.extensions': endings,
        'train_cfg.max_epochs': 3}))
    dataset = unwrap(runner.train_dataloader.dataset)
    assert isinstance(dataset, ImageFolder)
    assert len(dataset) == len(UNUSUAL) + len(BROKEN) + 2
    assert np.isfinite(loss_trace(runner)).all()
    store = store_of(runner)
    for index in range(len(dataset)):
        name = os.path.basename(dataset.get_data_info(index)['img_path'])
        readable = name in UNUSUAL
        assert bool(dataset.unreadable[index]) != readable, name
        # a picture of one colour may have a uniform map
        assert readable or not store.read(index).any(), name
    log = log_of(runner)  # said once, though met in every epoch
    assert log.count(
        f'skipped {len(BROKEN) + 2} of {len(dataset)} images') == 1
    assert str(data / 'cut.jpg') in log
