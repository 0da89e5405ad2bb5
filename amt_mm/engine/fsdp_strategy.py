"""Train with weights that are sharded over the processes."""

from __future__ import annotations

from mmengine._strategy import FSDPStrategy
from torch.distributed.fsdp import FullyShardedDataParallel

from amt_mm.registry import STRATEGIES


@STRATEGIES.register_module()
class AMTFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, which can resume with current torch.

    mmengine hands the state of the optimiser to torch in the order of
    arguments that torch 2.0 had, so that its own cannot resume.

    Args:
        **kwargs: Those of :class:`mmengine._strategy.FSDPStrategy`.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what ``optim_state_dict`` of this strategy gave."""
        sharded = FullyShardedDataParallel.optim_state_dict_to_load(
            self.model, self.optim_wrapper.optimizer, state_dict)
        self.optim_wrapper.load_state_dict(sharded)
