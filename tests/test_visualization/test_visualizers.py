"""What a config names to show pictures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from mmengine.registry import VISBACKENDS


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
