"""AMTMaskFeat against mmpretrain's MaskFeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.models import HOGGenerator
from tiny_models import (
    SIDE,
    assert_same_step,
    build,
    make_images,
    make_samples,
    maskfeat_config,
)

from amt_mm.masking import MASKED, MaskPlan, TokenCounts
from amt_mm.models import AMTHOGGenerator


def test_loss_and_gradients_equal_maskfeat(show):
    """On the 14 x 14 patches that mmpretrain's own assumes."""
    size = 14 * SIDE
    ours, theirs = (build(maskfeat_config(size, ours=flag))
                    for flag in (True, False))
    theirs.load_state_dict(ours.state_dict())
    images = make_images(size, size)
    samples = make_samples(TokenCounts(78, 0, 118), (14, 14))
    for sample in samples:  # what mmpretrain's MaskFeat reads
        sample.mask = torch.from_numpy(sample.mask_plan == MASKED)
    show('MaskFeat: ' + assert_same_step(*(
        (m, m.loss(images, samples)['loss']) for m in (ours, theirs))))


def test_loss_by_hand():
    model, samples = build(maskfeat_config((32, 48))), make_samples(
        TokenCounts(9, 8, 7), (4, 6))
    images = make_images(32, 48)
    plan = MaskPlan.from_data_samples(samples)
    pred = model.predict(images, plan)
    hog = model.target_generator(images).unflatten(1, (4, 6))
    errors = [((pred[i, k] - hog[i, y, x])**2).mean()
              for i, sample in enumerate(samples)
              for k, (y, x) in enumerate(
                  np.argwhere(sample.mask_plan == MASKED))]
    assert len(errors) == 27
    assert model.loss(images, samples)['loss'].item() == pytest.approx(
        torch.stack(errors).mean().item(), abs=1e-5)


# ---- the target


@pytest.mark.parametrize('side, pool', [(16, 8), (16, 16), (8, 4), (8, 2)])
def test_target_equals_upstream_on_14_patches(side, pool):
    options = dict(pool=pool, gaussian_window=side)
    images = make_images(14 * side, 14 * side, 2)
    expected = HOGGenerator(**options)(images)
    hog = AMTHOGGenerator(patch_size=side, **options)(images)
    assert hog.shape == (2, 196, 27 * (side // pool)**2)
    assert torch.equal(hog, expected)


@pytest.mark.parametrize('size', [(64, 64), (32, 96), (96, 32), (48, 80)])
def test_target_of_other_sizes(size):
    """A patch away from the border is described the same in any image."""
    generator = AMTHOGGenerator(patch_size=16)
    whole = make_images(224, 224, 2)
    height, width = size
    crop = whole[..., 32:32 + height, 48:48 + width]
    hog = generator(crop).unflatten(1, (height // 16, width // 16))
    assert hog.shape[-1] == 108
    expected = HOGGenerator()(whole).unflatten(1, (14, 14))[
        :, 2:2 + height // 16, 3:3 + width // 16]
    inner = (slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(hog[inner], expected[inner])
    torch.testing.assert_close(hog, hog_by_hand(generator, crop))


def test_target_of_parts_of_a_gaussian_window():
    generator = AMTHOGGenerator(patch_size=8)
    whole = make_images(80, 80, 2)
    few = generator(whole[..., :40, :56]).unflatten(1, (5, 7))
    expected = generator(whole).unflatten(1, (10, 10))
    assert torch.equal(few[:, :4, :6], expected[:, :4, :6])


def hog_by_hand(generator, images):
    """Histograms of oriented gradients in numpy; the edges are mirrored."""
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)),
                    mode='reflect').astype(np.float64)
    height, width = images.shape[-2:]
    near, far = padded[..., :-2], padded[..., 2:]
    gx = (near[:, :, :-2] + 2 * near[:, :, 1:-1] + near[:, :, 2:]
          - far[:, :, :-2] - 2 * far[:, :, 1:-1] - far[:, :, 2:])
    rows = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    gy = rows[:, :, :-2] - rows[:, :, 2:]
    kernel = np.tile(generator.gaussian_kernel.numpy(),
                     (height // 16, width // 16))
    norm = np.hypot(gx, gy) * kernel
    bins = np.floor(np.arctan2(gx, gy) / np.pi * 9).astype(int) % 9
    histogram = np.stack([np.where(bins == i, norm, 0) for i in range(9)], 2)
    cells = histogram.reshape(
        *histogram.shape[:3], height // 8, 8, width // 8, 8).sum((4, 6))
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    b = len(cells)
    tokens = cells.reshape(b, 27, height // 16, 2, width // 16, 2)
    tokens = tokens.transpose(0, 2, 4, 1, 3, 5)
    return torch.from_numpy(tokens.reshape(
        b, height // 16, width // 16, 108)).float()


def test_target_is_exact_in_mixed_precision():
    generator, images = AMTHOGGenerator(), make_images(64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = generator(images)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, generator(images))
