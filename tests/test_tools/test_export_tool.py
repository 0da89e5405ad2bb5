"""tools/export.py from the command line, on good and on bad files."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from small_configs import mae

MODEL = mae()


@pytest.fixture(scope='module')
def state():
    return MODELS.build(MODEL).state_dict()


@pytest.fixture
def checkpoint(state, tmp_path):
    """A checkpoint with the text of its config."""
    path = tmp_path / 'epoch_2.pth'
    cfg = Config(dict(model=MODEL)).pretty_text
    torch.save(dict(state_dict=state, meta=dict(cfg=cfg)), path)
    return path


@pytest.fixture
def export(call):
    return partial(call, 'export')


def refused(result, *words):
    """Assert one line that tells, status 1 and no traceback."""
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    lines = [line for line in result.stderr.splitlines()
             if line.startswith('cannot export')]
    assert len(lines) == 1 and result.stderr.splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0]


def test_every_target_beside_the_checkpoint(export, checkpoint, tmp_path):
    made = dict(timm='epoch_2_timm.safetensors', hf='epoch_2_hf',
                mmpretrain='epoch_2_mmpretrain.pth',
                safetensors='epoch_2_encoder.safetensors')
    for target, name in made.items():
        result = export(checkpoint, '--to', target)
        assert result.returncode == 0, result.stderr[-2000:]
        assert str(tmp_path / name) in result.stdout
        left = 'nothing' if target == 'hf' else '20 keys (neck 20)'
        assert f'exported from {checkpoint}: took ' in result.stdout
        assert f'left {left}; lacked' in result.stdout
        assert ('ViT of 2 layers, width 32, 4 heads' in result.stdout) == (
            target != 'mmpretrain')
    assert 'VisionTransformer(num_classes=0, img_size=32' in export(
        checkpoint, '--to', 'timm', '--force').stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'epoch_2.pth', *made.values()}  # nothing half-written


def test_onnx_without_its_packages(export, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    refused(export(checkpoint, '--to', 'onnx'), 'onnx is missing',
            'pip install')


def test_config_and_heads_from_the_command_line(export, state, tmp_path):
    torch.save(state, tmp_path / 'bare.pth')
    (tmp_path / 'config.py').write_text(Config(dict(model=MODEL)).pretty_text)
    command = tmp_path / 'bare.pth', '--to', 'hf', '--grid', 4, 4
    refused(export(*command), 'Pass --num-heads N or --config')
    refused(export(*command[:3], '--num-heads', 4), 'Pass --grid HEIGHT')
    refused(export(*command, '--num-heads', 4), 'pass --config, or --encoder-')
    result = export(*command, '--num-heads', 4, '--encoder-only', '--out',
                  tmp_path / 'vit')
    assert result.returncode == 0 and 'ViTModel' in result.stdout
    result = export(*command, '--config', tmp_path / 'config.py', '--out',
                  tmp_path / 'mae')
    assert result.returncode == 0 and 'ViTMAEForPreTr' in result.stdout
    text = json.loads((tmp_path / 'mae/config.json').read_text())
    assert text['decoder_num_attention_heads'] == 2


def test_of_a_cross_decoder_the_encoder_is_exported(export, tmp_path):
    """No library has such a decoder; the report says that it is left."""
    model = dict(MODEL, neck=dict(MODEL['neck'], type='amt_mm.AMTCrossDecoder',
                                  inter_block=True))
    cfg = Config(dict(model=model)).pretty_text
    torch.save(dict(state_dict=MODELS.build(model).state_dict(),
                    meta=dict(cfg=cfg)), tmp_path / 'cross.pth')
    for target in ('timm', 'hf', 'mmpretrain', 'safetensors'):
        result = export(tmp_path / 'cross.pth', '--to', target)
        assert result.returncode == 0, result.stderr[-2000:]
        assert 'left 23 keys (neck 23); lacked' in result.stdout
    text = json.loads((tmp_path / 'cross_hf/config.json').read_text())
    assert text['architectures'] == ['ViTModel']


def test_nothing_is_overwritten_unasked(export, checkpoint, tmp_path):
    out = tmp_path / 'folder'
    out.mkdir()
    command = checkpoint, '--to', 'hf', '--out', out
    assert export(*command).returncode == 0  # into an empty folder
    (out / 'mine.txt').write_text('mine')
    before = (out / 'config.json').stat().st_mtime_ns
    refused(export(*command), 'exists and is not empty', '--force')
    assert (out / 'config.json').stat().st_mtime_ns == before
    assert export(*command, '--force').returncode == 0
    assert (out / 'config.json').stat().st_mtime_ns > before
    assert (out / 'mine.txt').read_text() == 'mine'
    for force in ((), ('--force',)):
        refused(export(checkpoint, '--to', 'mmpretrain', '--out',
                     checkpoint, *force), 'is the checkpoint itself')
    refused(export(checkpoint, '--to', 'timm', '--out',
                 tmp_path / 'vit.pth'), 'must end in .safetensors')
    refused(export(checkpoint, '--to', 'timm', '--force', '--out',
                 out), 'safetensors')
    assert torch.load(checkpoint, weights_only=True)['state_dict']


def test_bad_files(export, state, tmp_path):
    """What is said of which is in test_weights/test_foreign_files.py."""
    refused(export(tmp_path / 'none.pth', '--to', 'timm'),
            'cannot read', 'none.pth')
    harm = tmp_path / 'harm'
    torch.save(dict(state_dict=state, meta=dict(
        cfg=f'model = open({str(harm)!r}, "w")')), tmp_path / 'text.pth')
    refused(export(tmp_path / 'text.pth', '--to', 'timm'), '--num-heads')
    assert [path.name for path in tmp_path.iterdir()] == ['text.pth']
