"""ViTDet, and what timm and transformers make of an export."""

from __future__ import annotations

import functools

import safetensors.torch
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from small_configs import ARCH, mae
from transformers import AutoModelForPreTraining

from amt_mm.weights.export import open_checkpoint, to_hf, to_timm


def build(cfg):
    """Build a model with known weights, which no initialisation draws."""
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg)
    state = model.state_dict()
    for number, key in enumerate(sorted(state)):
        if state[key].is_floating_point():
            steps = torch.arange(state[key].numel(), dtype=torch.float64)
            values = 0.3 * torch.sin(1.7 * steps + number)
            state[key] = values.reshape(state[key].shape).float()
    model.load_state_dict(state)
    model.eval()  # mmpretrain's returns None
    return model


def make_images(height, width):
    """Return two images of waves."""
    steps = torch.arange(2 * 3 * height * width, dtype=torch.float64)
    return torch.sin(0.37 * steps).reshape(2, 3, height, width).float()


def described(output):
    """Return the shape of a tensor, its norm and eight of its values."""
    flat = output.detach().flatten()
    return [*output.shape, flat.double().norm().item(),
            flat[::len(flat) // 8][:8]]


def saved(model, path):
    """Write a checkpoint as a run does, the config in it."""
    cfg = Config(dict(model=mae(), data_preprocessor=dict(
        mean=[110., 120., 130.], std=[50., 60., 70.], to_rgb=True)))
    torch.save(dict(meta=dict(cfg=cfg.pretty_text),
                    state_dict=model.state_dict()), path)
    return open_checkpoint(str(path))


@torch.no_grad()
def test_vitdet(golden):
    model = build(dict(
        type='amt_mm.ViTDet', arch=dict(ARCH, num_layers=3), img_size=64,
        patch_size=8, window_size=3))
    fpn = build(dict(type='amt_mm.SimpleFPN', in_channels=32, out_channels=8))
    features = model(make_images(40, 88))
    golden('vitdet', dict(
        keys=list(model.state_dict()), output=described(features[0]),
        levels=[described(level) for level in fpn(features)]))


@torch.no_grad()
def test_timm(golden, tmp_path):
    out = tmp_path / 'encoder.safetensors'
    usage = to_timm(saved(build(mae()), tmp_path / 'run.pth'), out)
    scope = dict(timm=timm, torch=torch, functools=functools,
                 safetensors=safetensors)
    exec(usage, scope)
    features = scope['model'].eval().forward_features(make_images(32, 32))
    golden('timm', dict(keys=sorted(safetensors.torch.load_file(out)),
                        output=described(features)))


@torch.no_grad()
def test_transformers(golden, tmp_path):
    out = tmp_path / 'hf'
    to_hf(saved(build(mae()), tmp_path / 'run.pth'), out)
    model = AutoModelForPreTraining.from_pretrained(out).eval()
    noise = torch.arange(32.).reshape(2, 16).cos()
    output = model(make_images(32, 32), noise=noise)
    golden('transformers', dict(
        keys=sorted(safetensors.torch.load_file(out / 'model.safetensors')),
        loss=output.loss.item(), logits=described(output.logits)))
