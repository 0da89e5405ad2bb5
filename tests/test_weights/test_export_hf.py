"""What transformers makes of an export is what it was before."""

from __future__ import annotations

import pytest
import torch
import transformers
from tiny_checkpoints import (
    SIDE,
    build,
    classifier_config,
    expected_features,
    mae_config,
    make_images,
    save,
    simmim_config,
)
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModelForPreTraining

from amt_mm.masking.plan import MaskPlan
from amt_mm.weights.export import open_checkpoint, to_hf


def exported(config: dict, tmp_path) -> tuple[nn.Module, str]:
    """Return a model and the folder it was written to."""
    model = build(config)
    path = save(model, tmp_path / 'run.pth', config)
    to_hf(open_checkpoint(path), tmp_path / 'hf')
    return model, str(tmp_path / 'hf')


def random_plan() -> tuple[MaskPlan, Tensor]:
    """Return a plan, 4 of 16 tokens visible, and noise that gives it."""
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(3))
    ids = noise.argsort(1)
    return MaskPlan(ids[:, :4], ids[:, 4:], (4, 4)), noise


@pytest.mark.parametrize('norm_pix', [True, False])
@torch.no_grad()
def test_mae_gives_the_same_latent_prediction_and_loss(norm_pix, tmp_path,
                                                       show):
    config = mae_config()
    config['head']['norm_pix'] = norm_pix
    model, folder = exported(config, tmp_path)
    assert sorted(path.name for path in (tmp_path / 'hf').iterdir()) == [
        'config.json', 'model.safetensors', 'preprocessor_config.json']
    mae, info = AutoModelForPreTraining.from_pretrained(
        folder, output_loading_info=True)
    assert not any(info.values()), info
    assert mae.config.mask_ratio == 0.75
    images, (plan, noise) = make_images(), random_plan()
    got = mae(images, noise=noise, output_hidden_states=True)
    latent = model.backbone(images, plan)
    pred = model.neck(latent, plan)
    loss = model.head.loss(pred, images, plan)
    ids = plan.ids_masked[..., None].expand(-1, -1, pred.shape[-1])
    theirs = mae.vit(images, noise=noise).last_hidden_state
    errors = [(theirs - latent).abs().max().item(),
              (got.logits.gather(1, ids) - pred).abs().max().item(),
              abs(got.loss - loss).item()]
    show(f'ViTMAE, norm_pix {norm_pix}: latent, prediction, loss off by '
         + ', '.join(f'{error:.1e}' for error in errors)
         + f'; loss {loss:.4f}')
    assert latent.shape == (2, 5, 32) and pred.shape == (2, 12, SIDE**2 * 3)
    assert loss > 0.1 and max(errors) < 1e-5
    assert got.mask.sum() == 24


@torch.no_grad()
def test_features_do_not_move(tmp_path):
    """As the tool says how to get them, not as the model gives them."""
    model = build(mae_config())
    path = save(model, tmp_path / 'run.pth', mae_config())
    usage = to_hf(open_checkpoint(path), tmp_path / 'hf')
    images = make_images()
    found = dict(torch=torch, transformers=transformers, images=images)
    exec(usage, found)
    expected = expected_features(mae_config(), model, images)
    assert found['features'].shape == expected.shape == (2, 17, 32)
    assert (found['features'] - expected).abs().max() < 1e-5
    first, second = (found['model'].eval().vit(images).last_hidden_state
                     for _ in range(2))
    assert first.shape == (2, 5, 32) and not torch.equal(first, second)
    # nothing masked, but not in order: why noise is needed, too
    shuffled = found['encoder'](images).last_hidden_state
    assert (shuffled - expected).abs().max() > 0.1
    assert (shuffled[:, 0] - expected[:, 0]).abs().max() < 1e-5


def test_processor_normalises_as_the_preprocessor_does(tmp_path):
    config = dict(mae_config(), data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor', mean=[110., 120., 130.],
        std=[50., 60., 70.], to_rgb=True))
    model, folder = exported(config, tmp_path)
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=True)
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(0))
    got = processor(pixels, return_tensors='pt')['pixel_values']
    # mmpretrain reads its images as BGR
    expected = model.data_preprocessor(
        dict(inputs=pixels[None, [2, 1, 0]], data_samples=None))['inputs']
    assert got.shape == (1, 3, 32, 32)
    assert (got - expected).abs().max() < 1e-4


def test_what_transformers_has_not_is_refused(tmp_path):
    for i, (config, words) in enumerate([
        (classifier_config(out_type='avg_featmap', final_norm=False),
         'averaged patches'),
        (mae_config((24, 40)), 'square images, got 24 x 40'),
        (mae_config(layer_cfgs=dict(qkv_bias=False)), '--encoder-only'),
        (simmim_config('AMTBEiTPretrainViT', use_shared_rel_pos_bias=True),
         'relative position')]):
        (tmp_path / str(i)).mkdir()
        with pytest.raises(ValueError, match=words):
            exported(config, tmp_path / str(i))
        assert not (tmp_path / str(i) / 'hf').exists()
