"""What a config names to show pictures."""

from __future__ import annotations

from types import SimpleNamespace

import mmcv
import numpy as np
from mmengine.registry import VISBACKENDS, VISUALIZERS

from amt_mm.visualization import Panel, draw_sheet


def test_visualizer_saves_a_sheet(tmp_path):
    grid = np.zeros((2, 2), np.int8)
    panels = [Panel(np.zeros((8, 8, 3), np.uint8), grid + 0.5, grid, None)]
    visualizer = VISUALIZERS.build(dict(
        type='amt_mm.AMTVisualizer', name='sheets', save_dir=str(tmp_path),
        vis_backends=[dict(type='LocalVisBackend')]))
    visualizer.add_panels('panels', panels, 3)
    path, = tmp_path.rglob('panels_3.png')
    assert (mmcv.imread(str(path))[..., ::-1] == draw_sheet(panels)).all()


def test_pictures_have_an_ending():
    """MLflow itself is not installed: a stand-in takes its place."""
    cls = VISBACKENDS.get('amt_mm.AMTMLflowVisBackend')
    backend = cls.__new__(cls)
    pictures = {}
    backend._env_initialized = True
    backend._mlflow = SimpleNamespace(
        log_image=lambda image, name: pictures.update({name: image}))
    backend.add_image('panels', np.zeros((4, 4, 3), np.uint8), 2)
    assert [*pictures] == ['panels_2.png']
