"""Numbers that go wrong: skip the step, and stop if it goes on."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim import Optimizer

from amt_mm.arguments import check_int
from amt_mm.engine.launch import on_any_process
from amt_mm.registry import HOOKS

NUM_SHOWN = 8


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skip steps whose loss or gradients are not finite, up to a bound.

    Such a step leaves the weights and the optimiser's state as they are; the
    log names the batch's files. One more than ``max_skips`` of the last
    ``window`` iterations stops the run, so the weights that a checkpoint
    holds are always finite. Gradients that overflow in float16 while the loss
    is finite are the loss scaler's business, and not counted.

    Args:
        max_skips (int): How many steps are skipped. Defaults to 10.
        window (int): Of so many iterations. Defaults to 1000.

    Raises:
        FloatingPointError: With the files of the last batch.
    """

    # before the hooks that log the loss or save the weights
    priority = 'HIGH'

    def __init__(self, max_skips: int = 10, window: int = 1000) -> None:
        self.max_skips = check_int('max_skips', max_skips, 0)
        self.window = check_int('window', window, 1)

    def before_train(self, runner: Runner) -> None:
        """Look at the gradients before each step of the optimiser."""
        self.skipped_at: deque[int] = deque()
        self.skipped = False
        self.is_sharded = isinstance(runner.model, FullyShardedDataParallel)
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            self._drop_non_finite)

    def _drop_non_finite(self, optimizer: Optimizer, args: Any,
                         kwargs: Any) -> None:
        """Leave no gradient to an optimiser that should not step."""
        grads = [
            p.grad for group in optimizer.param_groups
            for p in group['params'] if p.grad is not None
        ]
        if not grads or getattr(optimizer, 'found_inf', None) is not None:
            return  # a fused optimiser does as the loss scaler tells it
        # one number, not finite if any gradient is not
        norms = torch.stack([n.float() for n in torch._foreach_norm(grads)])
        bad = not math.isfinite(float(norms.sum()))
        if self.is_sharded:
            bad = on_any_process(bad)  # else all hold the same gradients
        if bad:
            self.skipped = True
            optimizer.zero_grad(set_to_none=True)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Report a step that was skipped, or stop the run."""
        loss = (outputs or {}).get('loss', torch.zeros(()))
        is_own = not math.isfinite(loss.detach().item())
        if not on_any_process(is_own or self.skipped):
            return
        self.skipped = False
        files = _files(data_batch) if is_own else []
        report = _report(all_gather_object((get_rank(), is_own, files)))
        self.skipped_at.append(runner.iter)
        while self.skipped_at[0] <= runner.iter - self.window:
            self.skipped_at.popleft()
        if len(self.skipped_at) > self.max_skips:
            raise FloatingPointError(
                f'{report} at epoch {runner.epoch + 1}, iteration '
                f'{runner.iter + 1}. This happened {len(self.skipped_at)} '
                f'times in {self.window:,} iterations, more than max_skips '
                f'{self.max_skips}. The last checkpoint holds finite weights: '
                'lower the learning rate, or look at the files.')
        runner.logger.warning(
            f'step skipped, {len(self.skipped_at)} of at most '
            f'{self.max_skips}: {report} at epoch {runner.epoch + 1}, '
            f'iteration {runner.iter + 1}')


def _files(data_batch: Any) -> list[str]:
    samples = data_batch['data_samples'] if isinstance(
        data_batch, dict) and 'data_samples' in data_batch else []
    return [str(sample.get('img_path')) for sample in samples]


def _report(found: list[tuple[int, bool, list[str]]]) -> str:
    """Say on which ranks the loss was not finite, and for which files."""
    own = [(rank, files) for rank, is_own, files in found if is_own]
    if not own:
        return 'the gradients are not finite, though the loss is,'
    parts = []
    for rank, files in own:
        more = f' and {len(files) - NUM_SHOWN} more' * (len(files) > NUM_SHOWN)
        where = f' on rank {rank}' if len(found) > 1 else ''
        parts.append(f'the loss of the batch of {files[:NUM_SHOWN]}{more}'
                     f'{where} is not finite')
    return '; '.join(parts)
