"""What the input pipeline makes of eight JPEGs in three epochs."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS
from PIL import Image

from amt_mm.saliency import SaliencyStore

CROP = dict(scale=64, crop_ratio_range=(0.2, 1.0), interpolation='bicubic')
NUM_EPOCHS = 3
ORIENTATION, QUARTER_TURN = 0x0112, 6
LOADERS = dict(
    LoadImage={},
    keep_all=dict(keep_all=True),
    LoadResizedCrop=dict(type='amt_mm.LoadResizedCrop', crop=CROP))


@pytest.fixture(scope='module')
def jpegs(tmp_path_factory):
    """Return a folder of eight smooth JPEGs, one of them turned by EXIF."""
    root = tmp_path_factory.mktemp('jpegs')
    rng = np.random.default_rng(0)
    for i in range(8):
        blocks = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((100 + 60 * i, 480 - 40 * i))
        exif = Image.Exif()
        if i == 5:
            exif[ORIENTATION] = QUARTER_TURN
        image.save(root / f'{i}.jpg', quality=95, exif=exif)
    return root


@pytest.fixture
def make_dataset(jpegs, tmp_path):
    """Return a function that makes a training set with saliency maps."""

    def make(**load):
        pipeline = [
            dict(type='amt_mm.SeedSample'),
            dict(dict(type='amt_mm.LoadImage'), **load),
            dict(type='amt_mm.RandomResizedCropWithBox', **CROP),
            dict(type='mmpretrain.RandomFlip', prob=0.5),
            dict(type='amt_mm.AMTMaskGenerator', input_size=64, patch_size=8)]
        if 'crop' in load:
            del pipeline[2]
        dataset = DATASETS.build(dict(
            type='amt_mm.ImageFolder', data_root=str(jpegs),
            pipeline=[TRANSFORMS.build(step) for step in pipeline]))
        store = SaliencyStore(tmp_path, len(dataset), (8, 8), '')
        store.reset()
        maps = np.random.default_rng(0).random((len(dataset), 8, 8))
        store.write(0, maps)
        dataset.pipeline.transforms[-1].store = store
        return dataset

    return make


def epochs(dataset, indices):
    """Yield what the pipeline makes of the samples of each epoch."""
    for epoch in range(NUM_EPOCHS):
        dataset.pipeline.transforms[0].set(0, epoch)
        for index in indices(epoch):
            yield dataset[index]


def described(sample):
    """Return what was drawn for a sample, and its plan."""
    return [sample['sample_idx'], list(sample['crop_box']),
            sample.get('flip_direction'), list(sample['ori_shape']),
            float(sample['saliency'].sum()),
            [int((sample['mask_plan'] == role).sum()) for role in (1, -1, 0)],
            # where the plan is, as one number
            int((sample['mask_plan'].ravel() * np.arange(64)).sum())]


def pixels(sample):
    """Return the mean of each channel, and a picture of 4 x 4 pixels."""
    image = sample['img'].astype(float)
    cells = image.reshape(4, 16, 4, 16, 3).mean((1, 3, 4))
    return [round(value, 3)
            for value in (*image.mean((0, 1)), *cells.ravel())]


@pytest.mark.parametrize('loader', LOADERS)
def test_loaders(golden, make_dataset, loader):
    dataset = make_dataset(**LOADERS[loader])
    samples = list(epochs(dataset, lambda epoch: range(len(dataset))))
    # all loaders draw the same; only pixels of reduced images differ
    golden('input', [described(sample) for sample in samples])
    name = 'pixels_reduced' if loader == 'LoadResizedCrop' else 'pixels'
    golden(name, [pixels(sample) for sample in samples], atol=0.05)


def test_repeats(golden, make_dataset):
    dataset = make_dataset(keep_last=True)
    sampler = DATA_SAMPLERS.build(dict(
        type='amt_mm.RepeatSampler', dataset=dataset, seed=0))

    def indices(epoch):
        sampler.set_epoch(epoch)
        return list(sampler)

    golden('input_repeated',
           [described(sample) for sample in epochs(dataset, indices)])
