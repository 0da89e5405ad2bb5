"""AMTMaskFeat against mmpretrain's MaskFeat."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import HOGGenerator, VisionTransformer
from mmpretrain.structures import DataSample
from tiny_models import (
    COUNTS,
    SIDE,
    gradients_of,
    make_images,
    make_samples,
    perturbed,
    scatter,
)
from torch import Tensor, nn

from amt_mm.masking import MASKED, MaskPlan, TokenCounts
from amt_mm.models import AMTHOGGenerator


def _config(arch: dict, size: int | tuple[int, int] = 32, side: int = SIDE,
            ours: bool = True) -> dict:
    scope, prefix = ('amt_mm', 'AMT') if ours else ('mmpretrain', '')
    window = dict(nbins=9, pool=4, gaussian_window=8)
    return dict(
        type=f'{scope}.{prefix}MaskFeat',
        backbone=dict(type=f'{scope}.{prefix}MaskFeatViT', arch=arch,
                      img_size=size, patch_size=side),
        neck=dict(type='mmpretrain.LinearNeck', in_channels=32,
                  out_channels=27 * (side // 4)**2, norm_cfg=None),
        head=dict(type='mmpretrain.MIMHead', loss=dict(
            type='mmpretrain.PixelReconstructionLoss', criterion='L2')),
        target_generator=dict(
            type=f'{scope}.{prefix}HOGGenerator', **window,
            **(dict(patch_size=side) if ours else {})))


def _model(*args, **kwargs) -> nn.Module:
    return scatter(MODELS.build(_config(*args, **kwargs)))


def _with_masks(samples: list[DataSample]) -> list[DataSample]:
    """Give the samples what mmpretrain's MaskFeat reads."""
    for sample in samples:
        sample.mask = torch.from_numpy(sample.mask_plan == MASKED)
    return samples


# ---- equality with MaskFeat


def test_loss_and_gradients_equal_maskfeat(tiny_arch: dict, show) -> None:
    """On the 14 x 14 patches that mmpretrain's own assumes."""
    size = 14 * SIDE
    ours = _model(tiny_arch, size)
    theirs = _model(tiny_arch, size, ours=False)
    theirs.load_state_dict(ours.state_dict())
    images = make_images(size, size)
    samples = _with_masks(make_samples(TokenCounts(78, 0, 118), (14, 14)))
    loss, expected = (m.loss(images, samples)['loss'] for m in (ours, theirs))
    assert expected > 0.1
    assert abs(loss - expected) < 1e-5
    gradients, expected_gradients = (
        gradients_of(ours, loss), gradients_of(theirs, expected))
    assert gradients.keys() == expected_gradients.keys()
    assert gradients['backbone.mask_token'].any()
    errors = {n: (g - expected_gradients[n]).abs().max().item()
              for n, g in gradients.items()}
    largest = max(g.abs().max() for g in expected_gradients.values())
    show(f'MaskFeat: loss {expected:.4f}, off by {abs(loss - expected):.1e}; '
         f'{len(errors)} gradients up to {largest:.3f}, off by '
         f'{max(errors.values()):.1e}')
    assert largest > 1e-2 and max(errors.values()) < 1e-5, errors


def test_same_initial_weights_as_maskfeat(tiny_arch: dict) -> None:
    states = []
    for flag in (True, False):
        torch.manual_seed(3)
        model = MODELS.build(_config(tiny_arch, ours=flag))
        torch.manual_seed(4)
        model.init_weights()
        states.append(model.state_dict())
    assert states[0].keys() == states[1].keys()
    for name, ours in states[0].items():
        assert torch.equal(ours, states[1][name]), name


@pytest.mark.parametrize('side, pool', [(16, 8), (16, 16), (8, 4), (8, 2)])
def test_target_equals_upstream_on_14_patches(side: int, pool: int) -> None:
    options = dict(pool=pool, gaussian_window=side)
    images = make_images(14 * side, 14 * side, 2)
    expected = HOGGenerator(**options)(images)
    hog = AMTHOGGenerator(patch_size=side, **options)(images)
    assert hog.shape == (2, 196, 27 * (side // pool)**2)
    assert torch.equal(hog, expected)


@pytest.mark.parametrize('size', [(64, 64), (32, 96), (96, 32), (48, 80)])
def test_target_of_other_sizes(size: tuple[int, int]) -> None:
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
    torch.testing.assert_close(hog, _hog_by_hand(generator, crop))


def test_target_of_parts_of_a_gaussian_window() -> None:
    generator = AMTHOGGenerator(patch_size=8)
    whole = make_images(80, 80, 2)
    few = generator(whole[..., :40, :56]).unflatten(1, (5, 7))
    expected = generator(whole).unflatten(1, (10, 10))
    assert torch.equal(few[:, :4, :6], expected[:, :4, :6])


def _hog_by_hand(generator: AMTHOGGenerator, images: Tensor) -> Tensor:
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


def test_target_is_exact_in_mixed_precision() -> None:
    generator, images = AMTHOGGenerator(), make_images(64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = generator(images)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, generator(images))


def test_patches_of_whole_cells() -> None:
    with pytest.raises(ValueError, match='patch_size must be a multiple of '
                                         'pool, got 14 by 8'):
        AMTHOGGenerator(patch_size=14)


# ---- the encoder


def test_without_a_plan_it_is_a_vision_transformer(tiny_arch: dict) -> None:
    ours = _model(tiny_arch, (32, 48)).backbone
    vit = VisionTransformer(arch=tiny_arch, img_size=(32, 48), patch_size=8,
                            out_type='raw')
    state = ours.state_dict()
    del state['mask_token']
    vit.load_state_dict(state)  # strict: all other keys are its own
    assert torch.equal(ours(make_images(32, 48))[0],
                       vit(make_images(32, 48))[0])


@pytest.mark.parametrize('size', [32, (32, 48), (16, 40)])
def test_shapes_of_the_docstrings(size, tiny_arch: dict) -> None:
    model = _model(tiny_arch, size)
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // SIDE, width // SIDE)
    total = grid[0] * grid[1]
    counts = TokenCounts(total // 2, 2, total - total // 2 - 2)
    images = make_images(height, width)
    samples = make_samples(counts, grid)
    plan = MaskPlan.from_data_samples(samples)
    latent = model.backbone(images, plan)
    assert latent.shape == (3, 1 + counts.visible + counts.masked, 32)
    assert model.predict(images, plan).shape == (3, counts.masked, 108)
    assert model.target(images, plan).shape == (3, counts.masked, 108)
    assert model.target_generator(images).shape == (3, total, 108)
    assert model.saliency(images).shape == (3, *grid)
    assert model.extract_feat(images)[-1].shape == (3, 1 + total, 32)
    assert torch.isfinite(model.loss(images, samples)['loss'])


def test_loss_by_hand(tiny_arch: dict) -> None:
    model, samples = _model(tiny_arch, (32, 48)), make_samples(
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


# ---- what each role may influence


def test_thrown_tokens_influence_no_prediction(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    plan = MaskPlan.from_data_samples(make_samples(COUNTS))
    changed = perturbed(images, plan, 'thrown')
    assert torch.equal(model.predict(images, plan),
                       model.predict(changed, plan))


def test_thrown_tokens_influence_nothing_but_the_edge_of_a_target(
        tiny_arch: dict) -> None:
    """A gradient looks one pixel beyond its patch, at a thrown one too."""
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    loss = model.loss(images, samples)['loss']
    gradients = gradients_of(model, loss)
    edge = torch.nn.functional.pad(
        torch.zeros(SIDE - 2, SIDE - 2), (1, 1, 1, 1), value=1).bool()
    changed = torch.where(edge.repeat(4, 4), images,
                          perturbed(images, plan, 'thrown'))
    assert not torch.equal(changed, images)
    again = model.loss(changed, samples)['loss']
    assert torch.equal(loss, again)
    for name, gradient in gradients_of(model, again).items():
        assert torch.equal(gradient, gradients[name]), name


def test_masked_patches_are_seen_by_the_loss_alone(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    changed = perturbed(images, plan, 'masked')
    assert torch.equal(model.predict(images, plan),
                       model.predict(changed, plan))
    before, after = (model.loss(x, samples)['loss']
                     for x in (images, changed))
    assert not torch.equal(before, after)


def test_gradients_reach_every_parameter(tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    gradients = gradients_of(
        model, model.loss(make_images(), make_samples(COUNTS))['loss'])
    assert gradients.keys() == {n for n, _ in model.named_parameters()}
    assert 'backbone.mask_token' in gradients
    assert all(g.any() for g in gradients.values())


def test_wrong_parts_are_refused(tiny_arch: dict) -> None:
    config = _config(tiny_arch)
    for part, options, message in (
            ('neck', dict(in_channels=16), 'neck.in_channels must be 32'),
            ('neck', dict(out_channels=27), 'neck.out_channels must be 108'),
            ('target_generator', dict(patch_size=16),
             'target_generator.patch_size must be 8')):
        with pytest.raises(ValueError, match=message):
            MODELS.build({**config, part: {**config[part], **options}})
    with pytest.raises(TypeError, match='target_generator must be an amt_mm.'
                                        'AMTHOGGenerator, got HOGGenerator'):
        MODELS.build({**config, 'target_generator': dict(
            type='mmpretrain.HOGGenerator')})


def test_mixed_precision(tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    images, samples = make_images(), make_samples(COUNTS)
    exact = model.loss(images, samples)['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(images, samples)['loss']
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=5e-3)
    gradients = gradients_of(model, loss)
    assert gradients['backbone.mask_token'].any()


@pytest.mark.compiles
def test_one_graph_for_the_compiler(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)

    def step(images: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        plan = MaskPlan(visible, masked, (4, 4))
        return model.head.loss(model.predict(images, plan),
                               model.target(images, plan))

    plan = MaskPlan.from_data_samples(samples)
    compiled: Callable = torch.compile(
        step, backend='eager', fullgraph=True)  # a break raises
    torch.testing.assert_close(
        compiled(images, plan.ids_visible, plan.ids_masked),
        model.loss(images, samples)['loss'])
