"""Runs on tiles with pixels without data, through the real Runner."""

from __future__ import annotations

import numpy as np
import pytest
from nodata_tiles import KINDS, SHARES, tile
from PIL import Image
from small_configs import CROP, FLIP, MASK, PACK, SEED, mae, run_config
from test_models.tiny_models import maskfeat_config, simmim_config
from tiny_run import loss_trace

from amt_mm.masking import MASKED, UNCOUNTED

METHODS = dict(
    mae=mae(),
    cross=mae(neck=dict(type='amt_mm.AMTCrossDecoder')),
    simmim=simmim_config(),
    maskfeat=maskfeat_config())
# cells of two patches, and one in which more is missing than has room
PLANS = dict(
    mae=MASK,
    cross=dict(MASK, predict_ratio=.5),
    simmim=dict(MASK, cell_size=16, rounding='ceil', mask_ratio=.5,
                throw_ratio=.25, warmup_mask_ratio=.5),
    maskfeat=dict(MASK, mask_ratio=.6, throw_ratio=.1))


def write_tiles(folder, level, ending='png'):
    """Write tiles of every kind and share, a level in what is missing."""
    folder.mkdir()
    for kind in KINDS:
        for share in SHARES:
            image, is_missing = tile(0, kind, share, 40, 48)
            path = folder / f'{kind}_{share}.{ending}'
            if ending == 'npy':
                image = image.astype(np.float32)
                image[is_missing] = level
                np.save(path, image)
            else:
                image[is_missing] = level
                alpha = np.where(is_missing, 0, 255).astype(np.uint8)
                Image.fromarray(np.dstack([image, alpha])).save(path)
    return folder


def losses_of(run, root, folder, loading, method='mae', **changes):
    root.mkdir()
    hooks = (dict(type='amt_mm.EpochSeedHook'),
             dict(type='amt_mm.SaliencyUpdateHook', interval=1, begin=1))
    cfg = run_config(
        root, (SEED, loading, CROP, FLIP, PLANS[method], PACK), hooks,
        dict(type='amt_mm.ImageFolder', data_root=str(folder),
             extensions=['.png', '.npy']),
        METHODS[method], randomness=dict(seed=0), **changes)
    runner = run(cfg)
    return runner, np.array(loss_trace(runner))


@pytest.mark.parametrize('method', METHODS)
def test_the_loss_does_not_see_what_is_missing(run, tmp_path, method):
    """Bit for bit, in the warm-up of 75 % masked and after it."""
    loading = dict(type='amt_mm.LoadImage', nodata='alpha')
    losses = []
    for level in (0, 255):
        folder = write_tiles(tmp_path / f'tiles_{level}', level)
        _, found = losses_of(run, tmp_path / str(level), folder, loading,
                             method)
        losses.append(found)
    assert len(losses[0]) == 10 and np.isfinite(losses[0]).all()
    np.testing.assert_array_equal(*losses)
    if method == 'mae':
        _, plain = losses_of(run, tmp_path / 'plain', tmp_path / 'tiles_255',
                             dict(type='amt_mm.LoadImage'))
        assert np.abs(plain - losses[1]).max() > 1e-3


def test_arrays_of_nan(run, tmp_path):
    folder = write_tiles(tmp_path / 'tiles', np.nan, 'npy')
    loading = dict(type='amt_mm.LoadArray', value_range=(0, 255),
                   nodata='nan')
    runner, losses = losses_of(
        run, tmp_path / 'run', folder, loading,
        data_preprocessor=dict(type='amt_mm.AMTDataPreprocessor', mean=[.5],
                               std=[.25]))
    assert len(losses) == 10 and np.isfinite(losses).all()
    assert all(p.isfinite().all() for p in runner.model.parameters())
    assert not runner.train_dataloader.dataset.unreadable.any()


def test_the_loss_is_that_of_the_counted(run, tmp_path):
    """A batch of the loader, by hand: the mean over patches with data."""
    folder = write_tiles(tmp_path / 'tiles', 0)
    runner, _ = losses_of(
        run, tmp_path / 'run', folder,
        dict(type='amt_mm.LoadImage', nodata='alpha'), 'maskfeat')
    dataset, model = runner.train_dataloader.dataset, runner.model.eval()
    runner.train_dataloader.dataset.pipeline.transforms[0].set(0, 0)
    samples = [dataset[i] for i in range(len(dataset))]
    flags = np.stack([s['data_samples'].mask_plan for s in samples])
    assert (flags == UNCOUNTED).any()
    data = model.data_preprocessor(runner.train_dataloader.collate_fn(samples))
    plan = model.plan_of(**data)
    errors = (model.predict(data['inputs'], plan)
              - model.target(data['inputs'], plan)).square().mean(2)
    counted = np.take_along_axis(
        flags.reshape(len(flags), -1), plan.ids_masked.numpy(), 1) == MASKED
    expected = errors.detach().numpy()[counted].mean()
    assert model.loss(**data)['loss'].item() == pytest.approx(
        expected, rel=1e-5)
    assert abs(errors.mean().item() - expected) > 1e-4
