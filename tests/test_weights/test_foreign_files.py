"""Files of other libraries are known by their keys; wrong ones are named.

Models of timm and transformers have random weights, and give the features
that the backbone gives after loading them.
"""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from mmengine.registry import MODELS
from safetensors.torch import save_file
from tiny_checkpoints import ARCH, SIDE, mae_config, make_images, vit
from torch import Tensor, nn

from amt_mm.models import AMTBEiTPretrainViT, ViTDet
from amt_mm.weights import load_encoder, load_model, read_weights
from amt_mm.weights.layouts import TIMM, TIMM_BLOCK, rename

VIT = dict(img_size=32, patch_size=SIDE, embed_dim=32, depth=2, num_heads=4,
           mlp_ratio=2.25, num_classes=5)
HF = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
          intermediate_size=72, image_size=32, patch_size=SIDE,
          layer_norm_eps=1e-6, hidden_dropout_prob=0.,
          attention_probs_dropout_prob=0.)
HF_MAE = dict(HF, decoder_hidden_size=24, decoder_num_hidden_layers=2,
              decoder_num_attention_heads=3, decoder_intermediate_size=96)


def shaken(kind: Any, *args: Any, **options: Any) -> Any:
    """Build a model, always the same, with no parameter at its start."""
    torch.manual_seed(4)
    model = kind(*args, **options)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.eval()  # mmpretrain's returns None
    return model


def timm_vit(**options: Any) -> nn.Module:
    return shaken(timm.models.VisionTransformer, **{**VIT, **options})


def hf_vit(kind: str = 'ViTModel', **options: Any) -> nn.Module:
    values = HF_MAE if 'MAE' in kind else HF
    config = getattr(transformers, 'ViTMAEConfig' if 'MAE' in kind
                     else 'ViTConfig')(**{**values, **options})
    return shaken(getattr(transformers, kind), config)


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


# ---- what loads: name -> how it is written, what the log says of it

STATE = timm_vit().state_dict()
HALF = {key: value * 0 for key, value in STATE.items()}


def release(state: dict[str, Tensor], **others: Any) -> dict[str, Any]:
    return dict(model=state, **others)


def split(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split queries, keys and values, as EVA of timm does."""
    parts: dict[str, Tensor] = {}
    for key, value in state.items():
        for name, third in zip('qkv', value.chunk(3), strict=True) \
                if 'qkv' in key else [('', value)]:
            parts[key.replace('qkv', f'{name}_proj')] = third
    return parts


GOOD = {
    'timm': (STATE, 'names of timm'),
    'timm, split': (split(STATE), 'names of timm'),
    'distributed, compiled': (
        prefixed('module._orig_mod.', STATE), 'names of timm'),
    'lightning': (dict(state_dict=prefixed('model.', STATE), epoch=3),
                  "the encoder is below 'model.'"),
    'DeiT, averaged': (release(HALF, model_ema=STATE),
                       "averaged weights, 'model_ema'"),
    'timm, averaged': (dict(state_dict=HALF, state_dict_ema=STATE),
                       "averaged weights, 'state_dict_ema'"),
    # its EMAHook saves the averaged ones as those of the model
    'mmengine, averaged': (dict(
        meta=dict(mmengine_version='0.10.12'), state_dict=STATE,
        ema_state_dict=prefixed('module.', HALF)), 'averaged weights (EMA)'),
    'DINO': (dict(student=prefixed('module.backbone.', HALF),
                  teacher=prefixed('backbone.', STATE), epoch=1,
                  args=Namespace(arch='vit_small', patch_size=8)),
             "averaged weights, 'teacher'"),
    'MoCo v3': (dict(state_dict={
        **prefixed('module.momentum_encoder.', HALF),
        **prefixed('module.base_encoder.', STATE)}, arch='vit_base'),
        "the encoder is below 'base_encoder.'"),
    'MAE, training': (release(
        STATE, optimizer=dict(state={}, param_groups=[]), epoch=800,
        args=Namespace(input_size=32, output_dir=Path('out'), lr=1e-3)),
        'names of timm'),
    'of ViTDet': (release({
        **prefixed('backbone.net.', STATE),
        'backbone.simfp_2.0.weight': torch.zeros(2)}),
        "the encoder is below 'backbone.net.'"),
}


@torch.no_grad()
def same_features(path: Path, expected: Tensor, **options: Any) -> str:
    backbone = vit(**options)
    report = load_encoder(backbone, str(path))
    error = (backbone(make_images())[-1] - expected).abs().max()
    assert expected.std() > .3 and error < 1e-5, report
    return report


@pytest.mark.parametrize('name', GOOD)
def test_timm_and_the_releases(name, tmp_path):
    content, words = GOOD[name]
    torch.save(content, tmp_path / 'file.bin')
    with torch.no_grad():
        expected = timm_vit().forward_features(make_images())
    report = same_features(tmp_path / 'file.bin', expected)
    assert words in report.split('): ')[0]


@pytest.mark.parametrize('options, ours', [
    (dict(init_values=.1), dict(layer_scale_init_value=1.)),
    (dict(qkv_bias=False), dict(layer_cfgs=dict(qkv_bias=False))),
    (dict(no_embed_class=True), {}),
    (dict(pre_norm=True), dict(pre_norm=True, patch_cfg=dict(bias=False))),
])
@torch.no_grad()
def test_variants_of_timm(options, ours, tmp_path):
    model = timm_vit(**options)
    save_file(model.state_dict(), tmp_path / 'file')  # of no ending
    expected = model.forward_features(make_images())
    if 'no_embed_class' in options:
        torch.save(dict(meta=dict(grid=[4, 4]), state_dict=model.state_dict()),
                   tmp_path / 'file')
    same_features(tmp_path / 'file', expected, **ours)


@pytest.mark.parametrize('kind, safe', [
    ('ViTModel', True), ('ViTModel', False),
    ('ViTForImageClassification', True), ('ViTMAEForPreTraining', False)])
@torch.no_grad()
def test_transformers(kind, safe, tmp_path):
    model = hf_vit(kind)
    # of several files with an index, too
    model.save_pretrained(tmp_path, safe_serialization=safe,
                          max_shard_size='60KB')
    encoder, images = getattr(model, 'vit', model), make_images()
    noise = dict(noise=torch.arange(16.).expand(2, -1))
    if 'MAE' in kind:
        encoder.config.mask_ratio = encoder.embeddings.config.mask_ratio = 0.
    expected = encoder(images, **noise if 'MAE' in kind else {}
                       ).last_hidden_state
    report = same_features(tmp_path, expected)
    assert 'names of transformers' in report
    with pytest.raises(ValueError, match='num_heads 4 instead of 2'):
        load_encoder(vit(dict(ARCH, num_heads=2)), str(tmp_path))
    if 'MAE' in kind:  # its decoder, as of a checkpoint of our own
        report, is_whole = load_model(
            MODELS.build(mae_config()), read_weights(str(tmp_path)))
        assert is_whole and 'left nothing; lacked, so new: nothing' in report
    # a file of a folder knows its config
    if not list(tmp_path.glob('*.index.json')):
        file = next(tmp_path.glob('*model.*'))
        assert read_weights(str(file)).meta['num_heads'] == 4


class CfgNode(dict):
    """As yacs has it: a dictionary with attributes."""


def test_simmim_of_its_release(tmp_path, monkeypatch):
    """Blocks of BEiT, into ours and into a plain ViT."""
    monkeypatch.setattr(CfgNode, '__module__', 'yacs.config')
    for name in ('yacs', 'yacs.config'):
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
    source = shaken(AMTBEiTPretrainViT, arch=ARCH, img_size=32,
                    patch_size=SIDE)
    state = {'encoder.' + rename(key, TIMM, TIMM_BLOCK, 'blocks'): value
             for key, value in source.state_dict().items()}
    state['decoder.0.weight'] = torch.ones(192, 32, 1, 1)
    config = CfgNode(lr=CfgNode(base=1))
    config.is_frozen = False
    torch.save(dict(model=state, config=config), tmp_path / 'simmim.pth')
    target = AMTBEiTPretrainViT(arch=ARCH, img_size=32, patch_size=SIDE)
    report = load_encoder(target, str(tmp_path / 'simmim.pth'))
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    assert 'left neck.decoder.0.weight' in report
    # a bias of queries and values alone is that of keys that have none
    state = {key: value for key, value in state.items()
             if 'rel' not in key}
    state['encoder.pos_embed'] = torch.zeros(1, 17, 32)
    torch.save(dict(model=state), tmp_path / 'plain.pth')
    plain = vit(layer_scale_init_value=1.)
    load_encoder(plain, str(tmp_path / 'plain.pth'))
    bias = plain.layers[0].attn.qkv.bias.data.chunk(3)
    assert torch.equal(bias[0], state['encoder.blocks.0.attn.q_bias'])
    assert not bias[1].any() and bias[2].any()
    assert torch.equal(plain.layers[1].ffn.gamma2.weight.data,
                       state['encoder.blocks.1.gamma_2'])


def test_a_detector_takes_a_release(tmp_path):
    torch.save(release(STATE), tmp_path / 'mae.pth')
    report = load_encoder(ViTDet(ARCH, (40, 88), patch_size=SIDE),
                          str(tmp_path / 'mae.pth'))
    assert 'grid 4 x 4 -> 5 x 11, taken as a square' in report


# ---- what does not load, and what is said

def keys_of(kind: Any, *args: Any) -> dict[str, Tensor]:
    """Return what is enough to tell what a model is."""
    with torch.device('meta'):
        state = kind(*args).state_dict()
    return dict.fromkeys(state, torch.zeros(1))


def cut(state: dict[str, Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()[:-1000]


BAD = {
    'ResNet': (lambda: keys_of(timm.create_model, 'resnet18'),
               'holds no encoder: .* looks like a ResNet'),
    'Swin': (lambda: keys_of(timm.create_model,
                             'swin_tiny_patch4_window7_224'),
             'looks like a Swin'),
    'ConvNeXt': (lambda: keys_of(timm.create_model, 'convnext_atto'),
                 'holds no encoder: .* looks like a ConvNeXt'),
    'BERT': (lambda: keys_of(transformers.BertModel,
                             transformers.BertConfig()),
             'holds no encoder: .* looks like a language model'),
    'CLIP': (lambda: keys_of(transformers.CLIPVisionModel,
                             transformers.CLIPVisionConfig()),
             'holds no encoder: .* looks like a CLIP'),
    'registers': (lambda: timm_vit(reg_tokens=4).state_dict(),
                  'looks like a ViT with register tokens'),
    'normed queries': (lambda: timm_vit(qk_norm=True).state_dict(),
                       'a ViT that normalises queries and keys'),
    'distilled': (lambda: dict(STATE, dist_token=torch.zeros(1, 1, 32),
                               pos_embed=torch.zeros(1, 18, 32)),
                  'a DeiT with a distillation token'),
    'width': (lambda: timm_vit(embed_dim=48).state_dict(),
              r'width 48 instead of 32\. Set arch'),
    'patches': (lambda: timm_vit(patch_size=4).state_dict(),
                r"patch_size 4 instead of 8\. adapt=\['patch_size'\] resizes"),
    'channels': (lambda: timm_vit(in_chans=13).state_dict(),
                 r"in_channels 13 instead of 3\. adapt=\['in_channels'\]"),
    'no square': (lambda: dict(STATE, pos_embed=torch.zeros(1, 21, 32)),
                  'grid .* is not known.*init_cfg.grid'),
    'layer scale': (lambda: timm_vit(init_values=1.).state_dict(),
                    'the model lacks layers.0.attn.gamma1.weight'),
    'no class token': (lambda: timm_vit(class_token=False,
                                        global_pool='avg').state_dict(),
                       'the file lacks cls_token'),
    'empty': (dict, 'holds no weights: it has nothing'),
    'code': (lambda: dict(STATE, x=timm_vit()),
             'it holds the pickled code timm.models.vision_transformer.Vis'),
    'text': (lambda: b'text, not a checkpoint',
             'damaged, or no file of torch or safetensors: '),
    'truncated': (lambda: cut(STATE), 'damaged, or no file of torch'),
    'safetensors': (lambda: b'{}' * 40, 'cannot read the checkpoint .*header'),
    'no ViT': (lambda: nn.Linear(2, 2).state_dict(), 'holds no encoder: its '
               r"keys should begin with 'backbone\.' .*, got weight, bias\."),
    'folder': (lambda: None, 'the folder holds none of model.safetensors'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_said_of_wrong_files(name, tmp_path):
    make, words = BAD[name]
    content, path = make(), tmp_path / 'file.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        path.mkdir()
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=words):
        load_encoder(vit(), str(path))
