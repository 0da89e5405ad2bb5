"""A file of ONNX gives what the encoder gives, for any number of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_checkpoints import build, mae_config, save

from amt_mm.weights.export import onnx_file, open_checkpoint, to_onnx

onnxruntime = pytest.importorskip('onnxruntime', reason='needs the extra onnx')
pytest.importorskip('onnxscript', reason='needs the extra onnx')
# of torch's exporter and of onnxscript, about themselves
pytestmark = [pytest.mark.filterwarnings(f'ignore::{kind}') for kind in (
    'DeprecationWarning', 'FutureWarning', 'UserWarning')]


@torch.no_grad()
def test_features_are_those_of_the_model_or_none(tmp_path, monkeypatch):
    model = build(mae_config())
    checkpoint = open_checkpoint(
        save(model, tmp_path / 'run.pth', mae_config()))
    out = tmp_path / 'new' / 'encoder.onnx'
    usage = to_onnx(checkpoint, out)
    assert 'images float32 (B, 3, 32, 32), RGB of 0 to 1' in usage
    graph = out.read_bytes()
    session = onnxruntime.InferenceSession(
        graph, providers=['CPUExecutionProvider'])
    for batch in (1, 5):
        images = torch.randn(batch, 3, 32, 32)
        features, patches = session.run(
            ['features', 'patches'], {'images': images.numpy()})
        tokens = model.extract_feat(images)[-1]
        assert features.shape == (batch, 32)
        np.testing.assert_allclose(features, tokens[:, 0], atol=1e-4)
        np.testing.assert_allclose(patches, tokens[:, 1:], atol=1e-4)
    # a graph that differs is not written
    monkeypatch.setattr(onnx_file, 'graph_of', lambda *args: graph)
    monkeypatch.setattr(onnx_file, 'TOLERANCE', 1e-12)
    with pytest.raises(ValueError, match='features of torch, within 1e-12, got'
                       ' differences of'):
        to_onnx(checkpoint, tmp_path / 'encoder.onnx')
    with pytest.raises(ValueError, match='--out must end in .onnx'):
        to_onnx(checkpoint, tmp_path / 'encoder.pb')
    assert not list(tmp_path.glob('encoder*'))
