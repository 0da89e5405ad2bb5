"""A run on a folder of odd, damaged and hostile files."""

from __future__ import annotations

import os

import numpy as np
import pytest
from image_bytes import UNUSUAL, bombs, encode, noise
from tiny_run import WORKERS, log_of, loss_trace, store_of

from amt_mm.datasets import ImageFolder
from amt_mm.datasets.training_set import unwrap

BROKEN = {
    'empty.jpg': b'', 'text.jpg': b'no image',
    'cut.jpg': encode(noise(), 'JPEG')[:-40],
    'cut.png': encode(noise(), 'PNG')[:-40],
    'flipped.png': encode(noise(), 'PNG')[:-50] + bytes(50),
    **{f'bomb_{name}': content for name, content in bombs().items()}
}


@pytest.mark.parametrize('context', ['fork', 'forkserver'])
def test_a_run_on_odd_files(tiny_cfg, run, tmp_path, context):
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
        'train_dataloader.multiprocessing_context': context,
        'train_cfg.max_epochs': 2}))
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
    assert f'skipped {len(BROKEN) + 2} of {len(dataset)} images' in \
        log_of(runner)
