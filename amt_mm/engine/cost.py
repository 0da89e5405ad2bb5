"""What a config will cost, said before it is paid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmpretrain.structures import DataSample
from torch.utils.flop_counter import FlopCounterMode

from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.masking.plan import MASKED, THROWN, VISIBLE, TokenCounts
from amt_mm.saliency.store import record_dtype

from .hooks.saliency_update_hook import SaliencyUpdateHook
from .plan_summary import CostEstimate, Phase
from .sources import ModelSaliency, SaliencySource

# of a phase whose counts change, the step is counted in so many epochs
NUM_COUNTED = 9


def estimate_cost(cfg: Config, world_size: int = 1) -> CostEstimate:
    """Work out the plan of a config; needs no data and no weights.

    Raises:
        ValueError: If the train pipeline has no ``AMTMaskGenerator``.
    """
    if 'max_epochs' not in cfg.train_cfg:
        raise ValueError('train_cfg must be an EpochBasedTrainLoop with '
                         f'max_epochs, got {dict(cfg.train_cfg)}.')
    _check_schedulers(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    generator = find_generator(cfg)
    source, updates, begin = _schedule(cfg, generator)
    model = _meta_model(cfg)
    images = torch.zeros(
        (1, 3, *_input_size(model, generator)), device='meta')

    def macs(counts: TokenCounts) -> tuple[int, int]:
        return _step_macs(model, images, generator.tokens, counts)

    warmup = _per_token(generator, generator.warmup_counts)
    stock_macs = macs(warmup)
    batch_size, lr, lr_rule = _learning_rate(cfg, world_size)
    return CostEstimate(
        phases=(Phase('warm-up', begin, warmup, warmup, *stock_macs),
                _training(generator, range(begin, cfg.train_cfg.max_epochs),
                          macs)),
        stock_macs=stock_macs[0],
        saliency_macs=count_macs(
            lambda: source.forward_for_flops(model, images))[0],
        map_bytes=record_dtype(generator.tokens).itemsize,
        updates=updates,
        batch_size=batch_size,
        lr=lr,
        lr_rule=lr_rule)


def _check_schedulers(cfg: Config) -> None:
    """Refuse a run that ends before a learning rate schedule begins."""
    max_epochs = cfg.train_cfg.max_epochs
    for index, scheduler in enumerate(cfg.get('param_scheduler') or ()):
        begin = scheduler.get('begin', 0)
        if scheduler.get('by_epoch', True) and begin >= max_epochs:
            raise ValueError(
                f'param_scheduler.{index}.begin must be < max_epochs, got '
                f'{begin} and {max_epochs}: a shorter run needs a shorter '
                'warm-up.')


def find_generator(cfg: Config) -> AMTMaskGenerator:
    """Build the ``AMTMaskGenerator`` of a config's train pipeline."""
    for node in _dicts(cfg.get('train_dataloader', {})):
        if str(node.get('type')).split('.')[-1] == 'AMTMaskGenerator':
            return TRANSFORMS.build(node)
    raise ValueError('the train pipeline has no amt_mm.AMTMaskGenerator.')


def count_macs(step: Any, part: str = '') -> tuple[int, int]:
    """Count the multiply-accumulates of the matrix products in a call.

    Returns:
        tuple[int, int]: All, and those of modules of the class ``part``.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    inside = sum(counter.get_flop_counts().get(part, {}).values())
    return counter.get_total_flops() // 2, inside // 2


def _training(generator: AMTMaskGenerator, epochs: range,
              macs: Callable[[TokenCounts], tuple[int, int]]) -> Phase:
    """Describe the epochs after the warm-up."""

    def counts_at(epoch: int) -> TokenCounts:
        return _per_token(generator, generator.strategy_at(epoch).counts)

    first, last = epochs.start, max(epochs.start, epochs.stop - 1)
    if generator.scheduled.is_constant:
        mean: Any = macs(counts_at(first))
    else:
        turns = {*generator.scheduled.boundary_epochs} & {*epochs}
        counted = sorted({*np.linspace(first, last, NUM_COUNTED, dtype=int),
                          *turns})
        costs = [macs(counts_at(int(epoch))) for epoch in counted]
        mean = [np.interp([*epochs] or [first], counted, cost).mean()
                for cost in zip(*costs, strict=True)]
    return Phase('training', len(epochs), counts_at(first), counts_at(last),
                 *mean)


def _per_token(generator: AMTMaskGenerator,
               cells: TokenCounts) -> TokenCounts:
    """Turn counts of cells into those of tokens."""
    return TokenCounts(*(n * generator.scale**2 for n in cells))


def _schedule(
        cfg: Config,
        generator: AMTMaskGenerator) -> tuple[SaliencySource, range, int]:
    """Return the source, the update epochs and how many come before them."""
    max_epochs = cfg.train_cfg.max_epochs
    for hook in cfg.get('custom_hooks', []):
        if generator.needs_saliency and \
                str(hook.type).endswith('SaliencyUpdateHook'):
            args = {k: v for k, v in hook.items() if k not in _KEYS}
            built = SaliencyUpdateHook(**args)
            updates = built.schedule(max_epochs)
            return built.source, updates, min(updates.start, max_epochs)
    return ModelSaliency(), range(0), 0


_KEYS = ('type', '_scope_', 'priority')


def _meta_model(cfg: Config) -> Any:
    model = cfg.model.to_dict()
    model.pop('compile_loss', None)  # only counted
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with torch.device('meta'):
        return MODELS.build(model)


def _input_size(model: Any, generator: AMTMaskGenerator) -> tuple[int, int]:
    h, w = generator.tokens
    return h * model.backbone.patch_size, w * model.backbone.patch_size


def _step_macs(model: Any, images: torch.Tensor, grid: tuple[int, int],
               counts: TokenCounts) -> tuple[int, int]:
    flags = np.repeat(np.array([MASKED, THROWN, VISIBLE], np.int8), counts)
    sample = DataSample()
    sample.set_field(flags.reshape(grid), 'mask_plan')
    sample.set_field(np.ones(grid, np.float32), 'saliency')
    return count_macs(
        lambda: model.loss(images, [sample])['loss'].backward(),
        type(model.backbone).__name__)


def _learning_rate(cfg: Config, world_size: int) -> tuple[int, float, str]:
    """Return effective batch size, peak rate, and how it was come by."""
    wrapper = cfg.optim_wrapper
    batch_size = cfg.train_dataloader.batch_size * world_size
    batch_size *= wrapper.get('accumulative_counts', 1)
    lr = wrapper.optimizer.lr
    rule = cfg.get('auto_scale_lr') or {}
    base = rule.get('base_batch_size')
    if not base or base == batch_size:
        return batch_size, lr, 'as in the config'
    if rule.get('enable'):
        # mmengine scales by the batch of one step, without accumulation
        real = cfg.train_dataloader.batch_size * world_size
        return batch_size, lr * real / base, f'{lr:.3g} scaled from {base}'
    return batch_size, lr, (
        f'meant for a batch of {base}: --auto-scale-lr would scale it')


def _dicts(node: Any) -> Iterator[dict]:
    """Yield every dict inside of a config node."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, (dict, list, tuple)):
        for child in children:
            yield from _dicts(child)
