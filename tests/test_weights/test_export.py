"""What is exported gives in other libraries what it gave before."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import timm
import torch
import transformers
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from mmpretrain.models import VisionTransformer
from tiny_checkpoints import (
    PLAIN,
    SIDE,
    build,
    classifier_config,
    expected_features,
    mae_config,
    make_images,
    save,
    simmim_config,
    size_of,
)
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModelForPreTraining

from amt_mm.masking.plan import MaskPlan
from amt_mm.weights.export import (
    PlainViT,
    open_checkpoint,
    timm_model,
    to_hf,
    to_mmpretrain,
    to_safetensors,
    to_timm,
)

RELATIVE = simmim_config('AMTBEiTPretrainViT', use_shared_rel_pos_bias=True)


def exported(config: dict, path: Path, target=to_timm) -> tuple:
    """Return a model, what was written of it and how to load that."""
    model = build(config)
    checkpoint = open_checkpoint(save(model, path / 'run.pth', config))
    endings = {to_mmpretrain: '.pth', to_hf: ''}
    out = path / f'out{endings.get(target, ".safetensors")}'
    return model, out, target(checkpoint, out)


def run(usage: str) -> nn.Module:
    """Do what the tool says."""
    scope = dict(timm=timm, torch=torch, functools=functools,
                 safetensors=safetensors, transformers=transformers)
    exec(usage, scope)
    return scope['model'].eval()


@pytest.mark.parametrize('name', PLAIN)
@torch.no_grad()
def test_timm_and_transformers_give_the_same_features(name, tmp_path):
    config = PLAIN[name]
    model, _, usage = exported(config, tmp_path)
    images = make_images(*size_of(config))
    expected = expected_features(config, model, images)
    assert expected.std() > 0.5
    hf = run(to_hf(open_checkpoint(str(tmp_path / 'run.pth')),
                   tmp_path / 'hf', encoder_only=True))
    for got in (run(usage).forward_features(images),  # loads strictly
                hf(images).last_hidden_state):
        assert got.shape == expected.shape
        assert (got - expected).abs().max() < 1e-5


@torch.no_grad()
def test_timm_averages_as_the_classifier_does(tmp_path):
    """MAE is fine-tuned with a norm of the averaged patches."""
    config = classifier_config(out_type='avg_featmap', final_norm=False)
    model, _, usage = exported(config, tmp_path)
    images = make_images()
    expected = model.backbone(images)[-1]
    timm_vit = run(usage)
    assert (timm_vit(images) - expected).abs().max() < 1e-5
    assert expected.shape == (2, 32)


@pytest.mark.parametrize(('sizes', 'name'), [
    ((192, 12, 3, 768, 16), 'vit_tiny_patch16_224'),
    ((384, 12, 6, 1536, 16), 'vit_small_patch16_224'),
    ((768, 12, 12, 3072, 16), 'vit_base_patch16_224'),
    ((1024, 24, 16, 4096, 16), 'vit_large_patch16_224'),
    ((1280, 32, 16, 5120, 14), 'vit_huge_patch14_224'),
    # timm rounds the hidden width down: 120 of 88 would become 119
    ((88, 2, 2, 120, 16), None)])
def test_sizes_of_the_timm_models(sizes, name):
    width, depth, heads, hidden, patch = sizes
    line = timm_model(PlainViT(width, depth, heads, hidden, patch, (224, 224),
                               3, True, 1e-6, False))
    assert (name is None) or line == (
        f"timm.create_model('{name}', num_classes=0)")
    with torch.device('meta'):
        model = eval(line)
    block = model.blocks[0]
    assert (model.embed_dim, len(model.blocks), block.attn.num_heads,
            block.mlp.fc1.out_features,
            model.patch_embed.patch_size[0]) == sizes
    assert block.norm1.eps == 1e-6


def test_mmpretrain_reads_the_encoder(tmp_path):
    config = PLAIN['mae, not square']
    model, out, usage = exported(config, tmp_path, to_mmpretrain)
    assert torch.load(out, weights_only=True)['meta'] == {
        'grid': [n // 8 for n in size_of(config)]}
    assert str(out) in usage and "prefix='backbone.'" in usage
    backbone = dict(config['backbone'], type='mmpretrain.VisionTransformer',
                    init_cfg=dict(type='Pretrained', checkpoint=str(out),
                                  prefix='backbone.'))
    backbone.pop('mask_ratio', None)
    vit = MODELS.build(backbone)
    vit.init_weights()
    own = model.backbone.state_dict()
    for key, value in vit.state_dict().items():
        assert torch.equal(value, own[key]), key


def test_relative_positions_go_to_mmpretrain_alone(tmp_path):
    model, out, _ = exported(RELATIVE, tmp_path, to_mmpretrain)
    keys = load_checkpoint(model, str(out), strict=False)['state_dict']
    assert 'backbone.rel_pos_bias.relative_position_bias_table' in keys

def test_safetensors_tell_what_they_are(tmp_path):
    model, out, _ = exported(mae_config((24, 40)), tmp_path, to_safetensors)
    with safetensors.safe_open(out, 'pt') as file:
        facts = file.metadata()
        state = {key: file.get_tensor(key) for key in file.keys()}
    assert {k: facts[k] for k in ('embed_dims', 'num_layers', 'num_heads',
                                  'feedforward_channels', 'patch_size')} == {
        'embed_dims': '32', 'num_layers': '2', 'num_heads': '4',
        'feedforward_channels': '72', 'patch_size': '8'}
    assert facts['image_size'] == '24x40' and facts['norm_eps'] == '1e-06'
    assert json.loads(facts['mean']) == [110, 120, 130]
    assert json.loads(facts['std']) == [50, 60, 70]
    assert facts['channels'] == 'RGB' and facts['qkv_bias'] == 'True'
    expected = {f'backbone.{k}': v
                for k, v in model.backbone.state_dict().items()}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[k], expected[k]) for k in state)


# ---- what the tensors do not tell


def test_heads_are_told_or_refused(tmp_path):
    """Unless mmpretrain knows the sizes, as of deit-tiny, with 3 heads."""
    path = save(build(mae_config()), tmp_path / 'bare.pth')
    config = dict(model=mae_config())
    for told, own, words in (
            (5, None, 'divide the width, got 5'),
            (0, None, 'divide the width, got 0'),
            (8, config, '--num-heads 8 contradicts')):
        with pytest.raises(ValueError, match=words):
            _ = open_checkpoint(path, num_heads=told, config=own).vit
    vit = VisionTransformer('deit-tiny', 32, 16)
    torch.save(vit.state_dict(), path)
    found = open_checkpoint(path, grid=(2, 2)).vit
    assert (found.num_heads, found.image_size) == (3, (32, 32))


@pytest.mark.parametrize(('target', 'config', 'words'), [
    (to_timm, classifier_config(layer_scale_init_value=0.1), 'also has'),
    (to_timm, classifier_config(pre_norm=True), 'also has'),
    (to_timm, classifier_config(with_cls_token=False, out_type='featmap'),
     'lacks cls_token'),
    (to_timm, classifier_config(layer_cfgs=dict(act_cfg=dict(type='ReLU'))),
     'GELU, got ReLU'),
    *((target, RELATIVE, 'relative position')
      for target in (to_timm, to_safetensors, to_hf)),
    (to_hf, classifier_config(out_type='avg_featmap', final_norm=False),
     'averaged patches'),
    (to_hf, mae_config((24, 40)), 'square images, got 24 x 40'),
    (to_hf, mae_config(layer_cfgs=dict(qkv_bias=False)), '--encoder-only')])
def test_what_a_library_has_not_is_refused(target, config, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        exported(config, tmp_path, target)
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


@pytest.mark.parametrize(('name', 'words'), [
    ('layers.', 'lacks 11 keys'), ('layers.0.', 'lacks 12 keys'),
    ('pos_embed', 'lacks pos_embed'), ('ln1', 'lacks'),
    ('patch_embed', 'holds no encoder')])
def test_an_incomplete_encoder_is_refused(name, words, tmp_path):
    state = {k: v for k, v in build(mae_config()).state_dict().items()
             if name not in k}
    path = tmp_path / 'part.pth'
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match=words):
        to_timm(open_checkpoint(str(path), num_heads=4), tmp_path / 'none')
    assert [p.name for p in tmp_path.iterdir()] == ['part.pth']


# ---- what transformers makes of a whole model


def random_plan() -> tuple[MaskPlan, Tensor]:
    """Return a plan, 4 of 16 tokens visible, and noise that gives it."""
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(3))
    ids = noise.argsort(1)
    return MaskPlan(ids[:, :4], ids[:, 4:], (4, 4)), noise


@pytest.mark.parametrize('norm_pix', [True, False])
@torch.no_grad()
def test_mae_gives_the_same_latent_prediction_and_loss(norm_pix, tmp_path):
    config = mae_config()
    config['head']['norm_pix'] = norm_pix
    model, folder, _ = exported(config, tmp_path, to_hf)
    assert sorted(path.name for path in folder.iterdir()) == [
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
    assert latent.shape == (2, 5, 32) and pred.shape == (2, 12, SIDE**2 * 3)
    assert (theirs - latent).abs().max() < 1e-5
    assert (got.logits.gather(1, ids) - pred).abs().max() < 1e-5
    assert loss > 0.1 and abs(got.loss - loss) < 1e-5
    assert got.mask.sum() == 24


@torch.no_grad()
def test_features_do_not_move(tmp_path):
    """As the tool says how to get them, not as the model gives them."""
    model, _, usage = exported(mae_config(), tmp_path, to_hf)
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
    model, folder, _ = exported(config, tmp_path, to_hf)
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=True)
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(0))
    got = processor(pixels, return_tensors='pt')['pixel_values']
    # mmpretrain reads its images as BGR
    expected = model.data_preprocessor(
        dict(inputs=pixels[None, [2, 1, 0]], data_samples=None))['inputs']
    assert got.shape == (1, 3, 32, 32)
    assert (got - expected).abs().max() < 1e-4
