"""Weights by a name of timm or of the hub, from a cache made here."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import transformers
from huggingface_hub import constants, utils
from safetensors.torch import save_file

from amt_mm.weights import check_checkpoint, read_weights
from amt_mm.weights.hub import fetch

NAME = 'vit_tiny_patch16_224'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache, which is all there is: the network is not asked."""
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    utils.reset_sessions()
    yield tmp_path / 'hub'
    utils.reset_sessions()


def entry(cache, repo):
    """Return the folder of a repository in the cache, as a download has it."""
    folder = cache / f'models--{repo.replace("/", "--")}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs/main').write_text('0' * 40)
    snapshot = folder / 'snapshots' / ('0' * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_model_of_timm(cache):
    model = timm.create_model(NAME, num_classes=0)
    tag = timm.models.get_pretrained_cfg(NAME).hf_hub_id
    assert tag.startswith(f'timm/{NAME}.')
    folder = entry(cache, tag)
    save_file(model.state_dict(), folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps(dict(
        architecture=NAME, pretrained_cfg=dict(input_size=[3, 224, 224]))))
    weights = read_weights(f'timm:{NAME}')
    assert weights.library == 'timm' and not weights.others
    assert len(weights.encoder) == len(model.state_dict())
    assert torch.equal(weights.encoder['layers.11.ln2.weight'],
                       model.blocks[11].norm2.weight)
    assert [*weights.meta['image_size']] == [224, 224]
    assert fetch(f'timm:{NAME}') == str(folder)
    check_checkpoint(f'timm:{NAME}')


@pytest.mark.parametrize('safe', [True, False])
def test_a_repository_of_the_hub(cache, safe):
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, image_size=32, patch_size=8)
    model = transformers.ViTModel(config, add_pooling_layer=False)
    folder = entry(cache, 'someone/tiny')
    model.save_pretrained(folder, safe_serialization=safe)
    weights = read_weights('hf:someone/tiny')
    assert weights.library == 'transformers'
    assert torch.equal(weights.encoder['ln1.weight'], model.layernorm.weight)
    assert (weights.num_heads, weights.meta['patch_size']) == (4, 8)


@pytest.mark.parametrize(('path', 'words'), [
    ('hf:someone/none', r'hf:someone/none is not in the cache .*hub and could'
     r' not be downloaded \(\w+ at someone/none\): run `hf download someone/'
     r'none` where there is a network, or name a file\.'),
    (f'timm:{NAME}', f'timm:{NAME} is not in the cache .*hf download timm/'),
    ('timm:vit_tiny_patch16_24', f'weights of .*similar names: .*{NAME}'),
    ('hf:no repository', r'could not be downloaded \(HFValidationError at no')
])
def test_what_cannot_be_had_is_one_sentence(cache, path, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_weights(path)
    assert '\n' not in str(caught.value)


def test_a_server_that_does_not_answer(cache, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    utils.reset_sessions()
    with pytest.raises(ValueError, match='hf:a/b is not in the cache'):
        read_weights('hf:a/b')


def test_a_repository_without_weights(cache):
    (entry(cache, 'someone/empty') / 'README.md').touch()
    with pytest.raises(ValueError, match='repository someone/empty holds no'):
        read_weights('hf:someone/empty')


def test_other_paths_stay(tmp_path):
    for path in ('a.pth', 'https://host/a.pth', str(tmp_path)):
        assert fetch(path) == path
