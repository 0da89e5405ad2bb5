"""What a config names to show pictures: a visualizer, and a back end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import MLflowVisBackend, Visualizer

from amt_mm.registry import VISBACKENDS, VISUALIZERS

from .panels import Panel, draw_sheet


@VISUALIZERS.register_module()
class AMTVisualizer(Visualizer):
    """mmengine's visualizer, which also draws a sheet of panels.

    Args:
        **kwargs: Those of :class:`mmengine.visualization.Visualizer`.
    """

    @master_only
    def add_panels(self, name: str, panels: Sequence[Panel],
                   step: int = 0) -> None:
        """Send a sheet of panels, one row each, to every back end."""
        self.add_image(name, draw_sheet(panels), step)


@VISBACKENDS.register_module()
class AMTMLflowVisBackend(MLflowVisBackend):
    """mmengine's back end, but MLflow refuses its names without an ending.

    Args:
        **kwargs: Those of :class:`mmengine.visualization.MLflowVisBackend`.
    """

    def add_image(self, name: str, image: np.ndarray, step: int = 0,
                  **kwargs: Any) -> None:
        """Log an RGB image (H, W, 3) as ``name_step.png``."""
        super().add_image(f'{name}_{step}.png', image, step, **kwargs)
