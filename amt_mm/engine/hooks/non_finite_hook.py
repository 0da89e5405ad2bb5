"""Skip steps with losses or gradients that are not finite."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.optim import Optimizer

from amt_mm.arguments import check_int
from amt_mm.engine.sources.model_saliency import unwrap_model
from amt_mm.registry import HOOKS

NUM_SHOWN = 8


class Iteration(NamedTuple):
    """An iteration whose numbers are being copied to the host."""

    epoch: int  # 0-based
    number: int  # 0-based, in the whole run
    is_step: bool  # whether the optimiser was due
    files: list[str]  # of its batch
    # returns the loss, and 1 if the step was skipped
    numbers: Callable[[], list[float]]


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skip steps whose loss or gradients are not finite, up to a bound.

    Such a step leaves the weights and the optimiser's state as they are; the
    log names the batch's files, one iteration later. One more than
    ``max_skips`` of the last ``window`` iterations stops the run. A checkpoint
    never holds weights that are not finite. Gradients that overflow in float16
    while the loss is finite are the loss scaler's business, and not counted.

    A loss that is not finite makes the gradients so, which data-parallel
    training averages: all processes see the same. The host waits for nothing
    where the optimiser is fused, as the device itself skips the step;
    with another optimiser it waits for the norm of the gradients.

    Args:
        max_skips (int): How many steps are skipped. Defaults to 10.
        window (int): Of so many iterations. Defaults to 1000.

    Raises:
        FloatingPointError: With the files of the last batch, or if weights
            that are not finite were to be saved.
        ValueError: If the weights are sharded, and the loss scale is not
            common to all processes.
    """

    # before the hooks that log the loss or save the weights
    priority = 'HIGH'

    def __init__(self, max_skips: int = 10, window: int = 1000) -> None:
        self.max_skips = check_int('max_skips', max_skips, 0)
        self.window = check_int('window', window, 1)

    def before_train(self, runner: Runner) -> None:
        """Look at the gradients before each step of the optimiser."""
        self.skipped_at: deque[int] = deque()
        self.seen: list[Iteration] = []  # since the last step
        self.is_bad: Tensor | None = None  # 1 if not finite, on the device
        self.is_sharded = isinstance(runner.model, FullyShardedDataParallel)
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self.is_scaled = scaler is not None and scaler.is_enabled()
        if self.is_sharded and self.is_scaled and not isinstance(
                scaler, ShardedGradScaler):
            raise ValueError('optim_wrapper.use_fsdp must be True in float16 '
                             'with FSDP, or each process skips other steps.')
        unwrap_model(runner).register_forward_hook(_spread_to_gradients)
        optimizer = runner.optim_wrapper.optimizer
        optimizer.register_step_pre_hook(self._skip_non_finite)
        optimizer.register_step_post_hook(self._forget)

    def _skip_non_finite(self, optimizer: Optimizer, args: Any,
                         kwargs: Any) -> None:
        """Skip the step if the gradients are not finite."""
        params = [p for g in optimizer.param_groups for p in g['params']]
        if self.is_scaled:  # the scaler has looked, and skips by itself
            self.is_bad = getattr(
                optimizer, 'found_inf', params[0].new_zeros(()))
            return
        grads = [p.grad for p in params if p.grad is not None]
        # one number, not finite if any gradient is not
        norm = torch.stack([
            n.float() for n in torch._foreach_norm(grads)
        ]).sum() if grads else params[0].new_zeros(())
        if self.is_sharded:
            all_reduce(norm)  # else all hold the same gradients
        self.is_bad = (~norm.isfinite()).float()
        # the device skips the step by ``found_inf``, as for a scaler
        if getattr(optimizer, '_step_supports_amp_scaling', False) and all(
                group.get('fused') for group in optimizer.param_groups):
            optimizer.found_inf = self.is_bad  # type: ignore[attr-defined]
        elif self.is_bad:
            optimizer.zero_grad(set_to_none=True)

    def _forget(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Remove the flag of this step from the optimiser."""
        if not self.is_scaled and hasattr(optimizer, 'found_inf'):
            del optimizer.found_inf

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Report the step before if it was skipped, and note this one."""
        self._report(runner)
        loss = (outputs or {}).get('loss', torch.zeros(())).detach().float()
        is_step = runner.optim_wrapper.should_update()
        # a loss scaler that skips a step may not call the optimiser
        is_bad = torch.full_like(loss, float(is_step)) \
            if self.is_bad is None else self.is_bad.to(loss)
        self.is_bad = None
        samples = data_batch.get('data_samples') \
            if isinstance(data_batch, dict) else None
        self.seen.append(Iteration(
            runner.epoch, runner.iter, is_step,
            [str(sample.get('img_path')) for sample in samples or ()],
            _to_host(torch.stack([loss, is_bad]))))

    def after_train_epoch(self, runner: Runner) -> None:
        """Report the last step of the epoch before anything is saved."""
        self._report(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Raise FloatingPointError if a weight is not finite."""
        bad = [name for name, weight in runner.model.named_parameters()
               if not weight.isfinite().all()]
        if bad:
            raise FloatingPointError(
                f'the weights {_shown(bad)} are not finite at epoch '
                f'{runner.epoch + 1}, and are not saved. The last checkpoint '
                'holds finite weights: resume from it with a lower learning '
                'rate.')

    def _report(self, runner: Runner) -> None:
        """Log the last step if it was skipped, or stop the run."""
        if not self.seen or not self.seen[-1].is_step:
            return
        seen, self.seen = self.seen, []
        if not seen[-1].numbers()[1]:  # the same in all processes
            return
        by_rank = all_gather_object({
            each.number: each.files for each in seen
            if not math.isfinite(each.numbers()[0])
        })
        for each in seen:
            where = '; '.join(
                f'the loss of the batch of {_shown(files[each.number])}'
                f'{f" on rank {rank}" if len(by_rank) > 1 else ""} is not '
                'finite' for rank, files in enumerate(by_rank)
                if each.number in files)
            if where or (each is seen[-1] and not self.is_scaled):
                self._count(runner, each, where or (
                    'the gradients are not finite, though the loss is,'))

    def _count(self, runner: Runner, skipped: Iteration, what: str) -> None:
        """Log a skipped step, and stop the run after too many."""
        self.skipped_at.append(skipped.number)
        while self.skipped_at[0] <= skipped.number - self.window:
            self.skipped_at.popleft()
        num_skips = len(self.skipped_at)
        what += (f' at epoch {skipped.epoch + 1}, '
                 f'iteration {skipped.number + 1}')
        if num_skips > self.max_skips:
            raise FloatingPointError(
                f'{what}. This happened {num_skips} times in {self.window:,} '
                f'iterations, more than max_skips {self.max_skips}. The last '
                'checkpoint holds finite weights: lower the learning rate, or '
                'look at the files.')
        runner.logger.warning(f'step skipped, {num_skips} of at most '
                              f'{self.max_skips}: {what}')


def _spread_to_gradients(module: nn.Module, args: Any, losses: Any) -> Any:
    """Make the gradients of a loss that is not finite not finite either."""
    if not module.training or not isinstance(losses, dict):
        return losses

    def spread(loss: Any) -> Any:
        if isinstance(loss, list):
            return [spread(each) for each in loss]
        return loss * (1 + 0 * loss.detach())  # by one, or by NaN

    return {name: spread(loss) if 'loss' in name else loss
            for name, loss in losses.items()}


def _to_host(numbers: Tensor) -> Callable[[], list[float]]:
    """Copy numbers to the host without waiting for the device."""
    if not numbers.is_cuda:
        return numbers.tolist
    copied = numbers.to('cpu', non_blocking=True)
    event = torch.cuda.Event()
    event.record()

    def read() -> list[float]:
        event.synchronize()
        return copied.tolist()

    return read


def _shown(names: list[str]) -> str:
    """Format the first of some names."""
    more = len(names) - NUM_SHOWN
    return f'{names[:NUM_SHOWN]}' + (f' and {more} more' if more > 0 else '')
