"""Pictures for MLflow, which tells their format by the ending of a name."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.visualization import MLflowVisBackend

from amt_mm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class AMTMLflowVisBackend(MLflowVisBackend):
    """mmengine's backend, which stops at names without an ending.

    Args:
        **kwargs: Those of :class:`mmengine.visualization.MLflowVisBackend`.
    """

    def add_image(self, name: str, image: np.ndarray, step: int = 0,
                  **kwargs: Any) -> None:
        """Log an RGB image (H, W, 3) as ``name_step.png``."""
        super().add_image(f'{name}_{step}.png', image, step, **kwargs)
