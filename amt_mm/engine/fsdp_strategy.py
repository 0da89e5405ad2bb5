"""Train with weights that are sharded over the processes."""

from __future__ import annotations

from typing import Any

from mmengine._strategy import FSDPStrategy
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.registry import OPTIM_WRAPPERS, STRATEGIES

from .optimizers import AutoPrecisionOptimWrapper


@STRATEGIES.register_module()
class AMTFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, which can resume with current torch.

    mmengine hands the state of the optimiser to torch in the order of
    arguments that torch 2.0 had, so that its own cannot resume. Its loss
    scale is common to all processes for its own ``AmpOptimWrapper`` only.

    Args:
        **kwargs: Those of :class:`mmengine._strategy.FSDPStrategy`.
    """

    def build_optim_wrapper(
            self,
            optim_wrapper: Any,
            model: nn.Module | None = None) -> BaseOptimWrapper:
        """Have all processes skip the same steps of float16."""
        if isinstance(optim_wrapper, dict) and OPTIM_WRAPPERS.get(
                optim_wrapper.get('type')) is AutoPrecisionOptimWrapper:
            optim_wrapper.setdefault('use_fsdp', True)
        return super().build_optim_wrapper(optim_wrapper, model)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what ``optim_state_dict`` of this strategy gave."""
        sharded = FullyShardedDataParallel.optim_state_dict_to_load(
            self.model, self.optim_wrapper.optimizer, state_dict)
        self.optim_wrapper.load_state_dict(sharded)
