"""AMTSimMIM against SimMIM written out over whole images."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import (
    BEiTPretrainViT,
    SimMIMHead,
    SimMIMLinearDecoder,
    VisionTransformer,
)
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

from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.masking import MASKED, THROWN, MaskPlan, TokenCounts
from amt_mm.models import AMTSimMIMViT

STOCK = TokenCounts(9, 0, 7)
LOSS = dict(
    type='mmpretrain.PixelReconstructionLoss', criterion='L1', channel=3)
VITS = ['AMTSimMIMViT', 'AMTBEiTPretrainViT']


def _config(arch: dict, size: int | tuple[int, int] = 32,
            vit: str = VITS[0], **options) -> dict:
    return dict(
        type='amt_mm.AMTSimMIM',
        backbone=dict(type=f'amt_mm.{vit}', arch=arch, img_size=size,
                      patch_size=SIDE, **options),
        neck=dict(type='amt_mm.AMTSimMIMLinearDecoder', in_channels=32,
                  encoder_stride=SIDE),
        head=dict(type='amt_mm.AMTSimMIMHead', patch_size=SIDE, loss=LOSS))


def _model(*args, **kwargs) -> nn.Module:
    return scatter(MODELS.build(_config(*args, **kwargs)))


def _flags(samples: list) -> Tensor:
    return torch.from_numpy(np.stack([s.mask_plan for s in samples]))


def _whole_tokens(vit: nn.Module, images: Tensor, mask: Tensor) -> Tensor:
    """SimMIM over whole images: all patches are embedded, some replaced."""
    x = vit.patch_embed(images)[0]
    w = mask.flatten(1)[..., None].float()
    x = x * (1 - w) + vit.mask_token * w
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
    return x + vit.pos_embed


def _whole_loss(model: nn.Module, images: Tensor, mask: Tensor,
                tokens: Tensor) -> Tensor:
    """mmpretrain's own decoder and head on a feature map of all tokens."""
    neck = SimMIMLinearDecoder(32, SIDE)
    neck.decoder = nn.Sequential(model.neck.decoder[0],
                                 nn.PixelShuffle(SIDE))
    grid = mask.shape[1:]
    feature_map = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
    return SimMIMHead(SIDE, LOSS).loss(neck(feature_map), images, mask)


def _grid_order(latent: Tensor, plan: MaskPlan) -> Tensor:
    """Put the tokens back to their places; thrown ones stay zero."""
    tokens = latent.new_zeros(len(latent), 1 + plan.num_tokens, 32)
    rows = torch.arange(len(latent))[:, None]
    ids = torch.cat([plan.ids_visible, plan.ids_masked], 1)
    tokens[rows, ids + 1] = latent[:, 1:]
    tokens[:, 0] = latent[:, 0]
    return tokens


# ---- equality with SimMIM over whole images


@pytest.mark.parametrize('size', [32, (32, 48)])
def test_loss_and_gradients_equal_simmim(size, tiny_arch: dict,
                                         show) -> None:
    model = _model(tiny_arch, size)
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // SIDE, width // SIDE)
    total = grid[0] * grid[1]
    images = make_images(height, width)
    samples = make_samples(TokenCounts(9, 0, total - 9), grid)
    mask = _flags(samples) == MASKED
    vit = model.backbone

    loss = model.loss(images, samples)['loss']
    gradients = gradients_of(model, loss)
    tokens = _whole_tokens(vit, images, mask)
    for layer in vit.layers:
        tokens = layer(tokens)
    expected = _whole_loss(model, images, mask.float(), vit.norm1(tokens))
    expected_gradients = gradients_of(model, expected)

    assert expected > 0.1
    assert abs(loss - expected) < 1e-5
    errors = {n: (g - expected_gradients[n]).abs().max().item()
              for n, g in gradients.items()}
    largest = max(g.abs().max() for g in expected_gradients.values())
    show(f'{grid}: loss {expected:.4f}, off by {abs(loss - expected):.1e}; '
         f'{len(errors)} gradients up to {largest:.3f}, off by '
         f'{max(errors.values()):.1e}')
    assert gradients.keys() == expected_gradients.keys()
    assert largest > 1e-2 and max(errors.values()) < 1e-5, errors


def test_thrown_tokens_equal_a_vit_without_them(tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    flags = _flags(samples)
    vit = model.backbone
    tokens = _whole_tokens(vit, images, flags == MASKED)
    kept = torch.cat([torch.ones(3, 1, dtype=torch.bool),
                      flags.flatten(1) != THROWN], 1)
    expected = torch.zeros(3, 17, 32)
    for i in range(3):
        x = tokens[i, kept[i]][None]
        for layer in vit.layers:
            x = layer(x)
        expected[i, kept[i]] = vit.norm1(x)[0]
    latent = vit(images, plan)
    assert latent.shape == (3, 1 + 4 + 7, 32)
    assert (_grid_order(latent, plan) - expected).abs().max() < 1e-5
    # and the loss is that of the whole picture, read at the masked pixels
    loss = model.loss(images, samples)['loss']
    whole = _whole_loss(model, images, (flags == MASKED).float(), expected)
    assert abs(loss - whole) < 1e-5


@pytest.mark.parametrize('size', [32, (32, 48)])
def test_relative_positions_equal_beit(size, tiny_arch: dict, show) -> None:
    model = _model(tiny_arch, size, VITS[1])
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // SIDE, width // SIDE)
    beit = BEiTPretrainViT(arch=tiny_arch, img_size=size, patch_size=SIDE)
    beit.load_state_dict(model.backbone.state_dict())  # strict
    assert beit.rel_pos_bias.relative_position_bias_table.std() > 0.1
    images = make_images(height, width)
    samples = make_samples(TokenCounts(9, 0, grid[0] * grid[1] - 9), grid)
    plan = MaskPlan.from_data_samples(samples)
    mask = (_flags(samples) == MASKED).float()
    expected = beit(images, mask)[0]
    tokens = _grid_order(model.backbone(images, plan), plan)
    error = (tokens - expected).abs().max()
    loss = model.loss(images, samples)['loss']
    whole = _whole_loss(model, images, mask, expected)
    show(f'BEiT {grid}: tokens off by {error:.1e}, loss by '
         f'{abs(loss - whole):.1e}')
    assert error < 1e-5 and abs(loss - whole) < 1e-5


def test_relative_positions_without_thrown_tokens(tiny_arch: dict) -> None:
    """As if no token could attend to a thrown one."""
    model = _model(tiny_arch, vit=VITS[1])
    vit, images, samples = model.backbone, make_images(), make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    flags = _flags(samples)
    x = vit.patch_embed(images)[0]
    w = (flags == MASKED).flatten(1)[..., None].float()
    x = torch.cat([vit.cls_token.expand(3, -1, -1),
                   x * (1 - w) + vit.mask_token * w], 1)
    thrown = nn.functional.pad((flags == THROWN).flatten(1), (1, 0))
    bias = vit.rel_pos_bias()[None] - 1e9 * thrown[:, None, None].float()
    for layer in vit.layers:
        x = layer(x, bias)
    tokens = _grid_order(vit(images, plan), plan)
    error = (tokens - vit.norm1(x))[~thrown].abs().max()
    assert error < 1e-5


def test_relative_positions_belong_to_a_grid(tiny_arch: dict) -> None:
    model = _model(tiny_arch, vit=VITS[1])
    samples = make_samples(TokenCounts(10, 4, 10), (4, 6))
    with pytest.raises(ValueError, match='img_size must be that of the input'):
        model.loss(make_images(32, 48), samples)
    with pytest.raises(ValueError, match='use_rel_pos_bias must be False'):
        _model(tiny_arch, vit=VITS[1], use_rel_pos_bias=True)


@pytest.mark.parametrize('options', [
    dict(use_shared_rel_pos_bias=False, use_abs_pos_emb=True),
    dict(use_abs_pos_emb=True)])
def test_absolute_positions_of_beit(options: dict, tiny_arch: dict) -> None:
    model = _model(tiny_arch, vit=VITS[1], **options)
    samples = make_samples(STOCK)
    beit = BEiTPretrainViT(arch=tiny_arch, img_size=32, patch_size=SIDE,
                           **options)
    beit.load_state_dict(model.backbone.state_dict())
    plan = MaskPlan.from_data_samples(samples)
    expected = beit(make_images(), (_flags(samples) == MASKED).float())[0]
    tokens = _grid_order(model.backbone(make_images(), plan), plan)
    assert (tokens - expected).abs().max() < 1e-5


# ---- a plain ViT without a plan


def test_without_a_plan_it_is_a_vision_transformer(tiny_arch: dict) -> None:
    ours = _model(tiny_arch, (32, 48)).backbone
    vit = VisionTransformer(arch=tiny_arch, img_size=(32, 48), patch_size=8,
                            out_type='raw')
    state = ours.state_dict()
    del state['mask_token']
    vit.load_state_dict(state)  # strict: all other keys are its own
    for size in ((32, 48), (40, 24)):
        outs, expected = ours(make_images(*size)), vit(make_images(*size))
        assert len(outs) == len(expected) == 1
        assert torch.equal(outs[0], expected[0])


@pytest.mark.parametrize('options', [
    {}, dict(pre_norm=True), dict(layer_scale_init_value=0.1),
    dict(patch_cfg=dict(norm_cfg=dict(type='LN')))])
def test_all_visible_is_the_whole_vit(options: dict, tiny_arch: dict) -> None:
    vit = _model(tiny_arch, **options).backbone
    plan = MaskPlan.from_flags(np.zeros((3, 4, 4), np.int8))
    latent = vit(make_images(), plan)
    assert (latent - vit(make_images())[0]).abs().max() < 1e-5


def test_initial_weights(tiny_arch: dict) -> None:
    ours = AMTSimMIMViT(arch=tiny_arch, img_size=32, patch_size=8)
    assert not ours.mask_token.any()
    ours.init_weights()
    for token in (ours.mask_token, ours.cls_token, ours.pos_embed):
        assert token.requires_grad
        assert 0.01 < token.std() < 0.03
    with pytest.raises(ValueError, match='with_cls_token must be True'):
        AMTSimMIMViT(arch=tiny_arch, with_cls_token=False)


# ---- shapes and counts


@pytest.mark.parametrize('size', [32, (32, 48), (16, 40)])
def test_shapes_of_the_docstrings(size, tiny_arch: dict) -> None:
    model = _model(tiny_arch, size)
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // SIDE, width // SIDE)
    total = grid[0] * grid[1]
    counts = TokenCounts(total // 2, 2, total - total // 2 - 2)
    images = make_images(height, width)
    plan = MaskPlan.from_data_samples(make_samples(counts, grid))
    latent = model.backbone(images, plan)
    assert latent.shape == (3, 1 + counts.visible + counts.masked, 32)
    pred = model.neck(latent, plan)
    assert pred.shape == (3, counts.masked, 3 * SIDE * SIDE)
    assert model.saliency(images).shape == (3, *grid)
    assert model.reconstruct(images, plan).shape == images.shape
    assert model.extract_feat(images)[-1].shape == (3, 1 + total, 32)


@pytest.mark.parametrize('ratios, kept', [
    ((0.60, 0.), 196), ((0.44, 0.26), 144), ((0.33, 0.50), 96)])
def test_kept_tokens_of_the_paper(ratios, kept: int, tiny_arch: dict) -> None:
    """Cells of 32 pixels come from the generator alone."""
    generator = AMTMaskGenerator(
        224, 16, *ratios, cell_size=32, rounding='ceil',
        ordering=dict(type='amt_mm.RandomOrdering'))
    flags = generator.transform({})['mask_plan']
    plan = MaskPlan.from_flags(flags[None])
    vit = AMTSimMIMViT(arch=tiny_arch, img_size=224, patch_size=16)
    assert vit(torch.zeros(1, 3, 224, 224), plan).shape == (1, 1 + kept, 32)


def test_another_input_size_than_the_models(tiny_arch: dict) -> None:
    model = _model(tiny_arch)
    samples = make_samples(TokenCounts(10, 4, 10), (4, 6))
    loss = model.loss(make_images(32, 48), samples)['loss']
    assert torch.isfinite(loss)
    assert gradients_of(model, loss)['backbone.pos_embed'].any()


# ---- what each role may influence


@pytest.mark.parametrize('vit', VITS)
def test_thrown_tokens_influence_nothing(vit: str, tiny_arch: dict) -> None:
    model, images = _model(tiny_arch, vit=vit), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    loss = model.loss(images, samples)['loss']
    gradients = gradients_of(model, loss)
    again = model.loss(perturbed(images, plan, 'thrown'), samples)['loss']
    assert torch.equal(loss, again)
    for name, gradient in gradients_of(model, again).items():
        assert torch.equal(gradient, gradients[name]), name


@pytest.mark.parametrize('vit', VITS)
def test_masked_patches_are_seen_by_the_loss_alone(vit: str,
                                                   tiny_arch: dict) -> None:
    model, images = _model(tiny_arch, vit=vit), make_images()
    samples = make_samples(COUNTS)
    plan = MaskPlan.from_data_samples(samples)
    changed = perturbed(images, plan, 'masked')
    latent = model.backbone(images, plan)
    assert torch.equal(latent, model.backbone(changed, plan))
    before, after = (model.loss(x, samples)['loss']
                     for x in (images, changed))
    assert not torch.equal(before, after)
    visible = perturbed(images, plan, 'visible')
    assert not torch.allclose(latent, model.backbone(visible, plan))


@pytest.mark.parametrize('vit', VITS)
def test_gradients_reach_every_parameter(vit: str, tiny_arch: dict) -> None:
    model = _model(tiny_arch, vit=vit)
    gradients = gradients_of(
        model, model.loss(make_images(), make_samples(COUNTS))['loss'])
    assert gradients.keys() == {n for n, _ in model.named_parameters()}
    assert 'backbone.mask_token' in gradients
    assert all(g.any() for g in gradients.values())


def test_positions_of_thrown_tokens_get_no_gradient(tiny_arch: dict) -> None:
    model, samples = _model(tiny_arch), make_samples(COUNTS, batch=1)
    gradients = gradients_of(
        model, model.loss(make_images(batch=1), samples)['loss'])
    rows = gradients['backbone.pos_embed'][0, 1:].any(-1)
    assert torch.equal(rows, _flags(samples).flatten() != THROWN)


# ---- loss and picture


def test_perfect_prediction_has_no_loss_and_restores_the_image(
        tiny_arch: dict) -> None:
    head, images = _model(tiny_arch).head, make_images()
    plan = MaskPlan.from_data_samples(make_samples(COUNTS))
    target = plan.patches(images, plan.ids_masked).flatten(2)
    assert head.loss(target, images, plan) == 0
    assert torch.equal(head.reconstruct(target, images, plan), images)
    assert head.loss(target + 2, images, plan).item() == pytest.approx(2)


def test_reconstruct_is_the_pixel_shuffle_where_masked(
        tiny_arch: dict) -> None:
    model, images = _model(tiny_arch), make_images()
    samples = make_samples(STOCK)
    plan = MaskPlan.from_data_samples(samples)
    tokens = _grid_order(model.backbone(images, plan), plan)
    feature_map = tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    whole = model.neck.decoder(feature_map)
    mask = (_flags(samples) == MASKED).repeat_interleave(
        SIDE, 1).repeat_interleave(SIDE, 2)[:, None]
    expected = torch.where(mask, whole, images)
    assert (model.reconstruct(images, plan) - expected).abs().max() < 1e-5


def test_wrong_parts_are_refused(tiny_arch: dict) -> None:
    config = _config(tiny_arch)
    for part, options, message in (
            ('neck', dict(in_channels=16), 'neck.in_channels must be 32'),
            ('neck', dict(encoder_stride=16), 'neck.encoder_stride'),
            ('head', dict(patch_size=4), 'head.patch_size must be 8')):
        with pytest.raises(ValueError, match=message):
            MODELS.build({**config, part: {**config[part], **options}})
    vit = dict(type='mmpretrain.VisionTransformer', arch=tiny_arch,
               img_size=32, patch_size=8)
    with pytest.raises(TypeError, match='backbone must be an amt_mm.KeptTok'):
        MODELS.build({**config, 'backbone': vit})


@pytest.mark.parametrize('vit', VITS)
def test_mixed_precision(vit: str, tiny_arch: dict) -> None:
    model = _model(tiny_arch, vit=vit)
    images, samples = make_images(), make_samples(COUNTS)
    exact = model.loss(images, samples)['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(images, samples)['loss']
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=5e-3)
    gradients = gradients_of(model, loss)
    assert gradients['backbone.mask_token'].any()


@pytest.mark.compiles
@pytest.mark.parametrize('vit', VITS)
def test_one_graph_for_the_compiler(vit: str, tiny_arch: dict) -> None:
    model = _model(tiny_arch, vit=vit, drop_path_rate=0.1).eval()
    images, samples = make_images(), make_samples(COUNTS)

    def step(images: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        plan = MaskPlan(visible, masked, (4, 4))
        pred = model.neck(model.backbone(images, plan), plan)
        return model.head.loss(pred, images, plan)

    plan = MaskPlan.from_data_samples(samples)
    compiled: Callable = torch.compile(
        step, backend='eager', fullgraph=True)  # a break raises
    torch.testing.assert_close(
        compiled(images, plan.ids_visible, plan.ids_masked),
        model.loss(images, samples)['loss'])
    model.train()
    compiled(images, plan.ids_visible, plan.ids_masked).backward()
