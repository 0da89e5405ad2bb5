"""What a config names to show pictures: a visualizer, and a back end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import (
    BaseVisBackend,
    MLflowVisBackend,
    Visualizer,
)

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


@VISBACKENDS.register_module()
class MetricsVisBackend(BaseVisBackend):
    """Append what is logged to one file of the run, a JSON object a line.

    mmengine's ``LocalVisBackend`` begins a file at each start. A step that is
    trained anew after a resume has two lines, of which the last counts.

    Args:
        save_dir (str): ``vis_data`` in the folder of a start, which mmengine
            sets. The file is ``metrics.jsonl`` in the work dir.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir)
        self.path = Path(save_dir).resolve().parents[1] / 'metrics.jsonl'

    def _init_env(self) -> None:
        """Do nothing: the file appears with its first line."""

    @property
    def experiment(self) -> MetricsVisBackend:
        """Return the back end itself."""
        return self

    def add_scalar(self, name: str, value: Any, step: int = 0,
                   **kwargs: Any) -> None:
        """Append one number."""
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0,
                    file_path: str | None = None, **kwargs: Any) -> None:
        """Append the numbers of a step, in one line."""
        numbers = {key: value.item() if hasattr(value, 'item') else value
                   for key, value in scalar_dict.items()}
        with open(self.path, 'a') as file:
            file.write(json.dumps({'step': step, **numbers}) + '\n')
