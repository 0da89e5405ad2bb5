"""Estimate what a pre-training run costs before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, init_default_scope
from mmpretrain.structures import DataSample

from amt_mm.compatibility import flop_counter
from amt_mm.datasets.transforms import AMTMaskGenerator
from amt_mm.masking.plan import (
    MASKED,
    THROWN,
    UNPREDICTED,
    VISIBLE,
    Strategy,
    TokenCounts,
)
from amt_mm.saliency.store import record_dtype

from .sources import ModelSaliency, SaliencySource

IMAGENET_SIZE = 1_281_167
# if the counts of a phase change, a step is counted in so many of its epochs
NUM_COUNTED = 9
# of models that were counted before, by all that the count depends on
_COUNTED: dict[tuple, dict[tuple, tuple[int, int]]] = {}


@dataclass(frozen=True)
class Phase:
    """Epochs of one kind.

    Where ratios are scheduled, the numbers are the mean of the epochs.
    """

    name: str
    epochs: int
    counts: TokenCounts  # of an image, in the first epoch
    last_counts: TokenCounts  # and in the last
    macs: float  # multiply-accumulates of a training step, for one image
    encoder_macs: float  # the encoder's share of them
    # of the masked tokens, in the first epoch and in the last
    unpredicted: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        tokens = ' at first, at last '.join(dict.fromkeys(
            f'{c.masked} masked{f" ({c.masked - n} predicted)" if n else ""}, '
            f'{c.thrown} thrown, {c.visible} visible' for c, n in zip(
                (self.counts, self.last_counts), self.unpredicted,
                strict=True)))
        decoder_macs = self.macs - self.encoder_macs
        return (f'{self.name:8s} {self.epochs:5d} epochs: {tokens} of '
                f'{sum(self.counts)} tokens; '
                f'{self.macs / 1e9:.4g} GMACs an image (encoder '
                f'{self.encoder_macs / 1e9:.4g}, decoder '
                f'{decoder_macs / 1e9:.4g})')


@dataclass(frozen=True)
class CostEstimate:
    """Tokens, schedule and cost of a whole pre-training run.

    The multiply-accumulates, for one image, are counted on the operations that
    run, forward and backward, on tensors without data.
    """

    phases: tuple[Phase, ...]  # warm-up, then training
    # of the same method that throws nothing and predicts all that it masks, at
    # the warm-up ratios
    stock_macs: float
    saliency_macs: int  # of one image's map
    map_bytes: int  # of one image's map in the store
    updates: range  # the 0-based epochs before which saliency is updated
    batch_size: int  # images of one optimiser step, over all processes
    lr: float  # peak learning rate, as it will be
    lr_rule: str  # where it comes from

    @property
    def total_macs(self) -> float:
        """Multiply-accumulates of the whole run, for one image."""
        steps = sum(phase.epochs * phase.macs for phase in self.phases)
        return steps + len(self.updates) * self.saliency_macs

    @property
    def cost(self) -> float:
        """Multiply-accumulates of the run over those of the stock method."""
        epochs = sum(phase.epochs for phase in self.phases)
        return self.total_macs / (epochs * self.stock_macs)

    def __str__(self) -> str:
        rows = [
            f'  {phase}, {phase.macs / self.stock_macs:.3f} of stock'
            for phase in self.phases if phase.epochs
        ]
        epochs = ', '.join(map(str, self.updates)) or 'never'
        return '\n'.join([
            'Plan of the run', *rows,
            f'  saliency updated before epochs (0-based): {epochs}; '
            f'{self.saliency_macs / 1e9:.4g} GMACs an image',
            f'  saliency maps: {self.map_bytes} bytes an image, '
            f'{self.map_bytes * IMAGENET_SIZE / 1e9:.2f} GB for the '
            f'{IMAGENET_SIZE:,} of ImageNet-1K',
            f'  whole run: {self.cost:.3f} of the multiply-accumulates of '
            'the same method without throwing',
            f'  effective batch size {self.batch_size}, peak learning rate '
            f'{self.lr:.3g} ({self.lr_rule})'
        ])


def estimate_cost(cfg: Config, world_size: int = 1) -> CostEstimate:
    """Estimate the cost of a config on so many processes; needs no data.

    Raises ValueError if the run is not counted in epochs or ends before a
    schedule of the learning rate begins, or if the train pipeline has no
    ``AMTMaskGenerator``.
    """
    if 'max_epochs' not in cfg.train_cfg:
        raise ValueError('train_cfg must be an EpochBasedTrainLoop with '
                         f'max_epochs, got {dict(cfg.train_cfg)}.')
    check_schedulers(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    generator = find_generator(cfg)
    source, updates, begin = _saliency_schedule(cfg, generator)
    model, images = _on_meta(cfg, generator.tokens)
    counted = _COUNTED.setdefault(
        (type(model), str(_model_cfg(cfg)), generator.tokens), {})

    def macs(strategy: Strategy) -> tuple[int, int]:
        key = strategy.counts, strategy.num_unpredicted
        if key not in counted:
            counted[key] = _step_macs(model, images, generator.tokens,
                                      strategy)
        return counted[key]

    maps = type(source), str(cfg.get('custom_hooks'))
    if maps not in counted:
        counted[maps] = count_macs(
            lambda: source.forward_for_flops(model, images))
    warmup = _per_token(generator, generator.warmup)
    unpredicted, warmup_macs = warmup.num_unpredicted, macs(warmup)
    stock_macs = macs(warmup._replace(num_unpredicted=0)) if unpredicted \
        else warmup_macs
    return CostEstimate(
        (Phase('warm-up', begin, warmup.counts, warmup.counts, *warmup_macs,
               (unpredicted, unpredicted)),
         _training(generator, range(begin, cfg.train_cfg.max_epochs), macs)),
        stock_macs[0],
        counted[maps][0],
        record_dtype(generator.tokens).itemsize,
        updates,
        *peak_learning_rate(cfg, world_size))


# ---- epochs


def find_generator(cfg: Config) -> AMTMaskGenerator:
    """Build the ``AMTMaskGenerator`` of a config's train pipeline."""
    for node in _dicts(cfg.get('train_dataloader', {})):
        if str(node.get('type')).split('.')[-1] == 'AMTMaskGenerator':
            return TRANSFORMS.build(node)
    raise ValueError('the train pipeline has no amt_mm.AMTMaskGenerator.')


def _dicts(node: Any) -> Iterator[dict]:
    """Yield every dict inside of a config node."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        yield from _dicts(child)


def _saliency_schedule(
        cfg: Config,
        generator: AMTMaskGenerator) -> tuple[SaliencySource, range, int]:
    """Return the source, the update epochs and how many come before them."""
    max_epochs = cfg.train_cfg.max_epochs
    for hook in cfg.get('custom_hooks', []):
        if generator.needs_saliency and \
                str(hook.type).endswith('SaliencyUpdateHook'):
            built = HOOKS.build(
                {k: v for k, v in hook.items() if k != 'priority'})
            updates = built.schedule(max_epochs)
            return built.source, updates, min(updates.start, max_epochs)
    return ModelSaliency(), range(0), 0


def _training(generator: AMTMaskGenerator, epochs: range,
              macs: Callable[[Strategy], tuple[int, int]]) -> Phase:
    """Describe the epochs after the warm-up."""

    def strategy_at(epoch: int) -> Strategy:
        return _per_token(generator, generator.strategy_at(epoch))

    first, last = epochs.start, max(epochs.start, epochs.stop - 1)
    if generator.scheduled.is_constant:
        mean: Any = macs(strategy_at(first))
    else:
        boundaries = generator.scheduled.boundary_epochs & {*epochs}
        counted = sorted({*np.linspace(first, last, NUM_COUNTED, dtype=int),
                          *boundaries})
        costs = [macs(strategy_at(int(epoch))) for epoch in counted]
        mean = [np.interp([*epochs] or [first], counted, cost).mean()
                for cost in zip(*costs, strict=True)]
    begin, end = strategy_at(first), strategy_at(last)
    step, encoder = mean
    return Phase('training', len(epochs), begin.counts, end.counts, step,
                 encoder, (begin.num_unpredicted, end.num_unpredicted))


def _per_token(generator: AMTMaskGenerator, strategy: Strategy) -> Strategy:
    """Turn counts of cells into those of tokens."""
    size = generator.scale**2
    return strategy._replace(
        counts=TokenCounts(*(n * size for n in strategy.counts)),
        num_unpredicted=strategy.num_unpredicted * size)


# ---- multiply-accumulates


def count_macs(step: Callable[[], Any], part: Any = None) -> tuple[int, int]:
    """Count the multiply-accumulates of a call: all, and a module's."""
    with flop_counter(part) as counter:
        step()
    inside = sum(
        counter.get_flop_counts().get(type(part).__name__, {}).values())
    return counter.get_total_flops() // 2, inside // 2


def _model_cfg(cfg: Config) -> dict[str, Any]:
    """Return the config of a model that is only counted."""
    model_cfg: dict[str, Any] = cfg.model.to_dict()
    model_cfg.pop('compile_loss', None)
    model_cfg.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return model_cfg


def _on_meta(cfg: Config, grid: tuple[int, int]) -> tuple[Any, torch.Tensor]:
    """Build a model and an image (1, C, h p, w p) that take no memory."""
    with torch.device('meta'):
        model = MODELS.build(_model_cfg(cfg))
        h, w = (n * model.backbone.patch_size for n in grid)
        channels = model.backbone.patch_embed.projection.in_channels
        return model, torch.zeros(1, channels, h, w)


def _step_macs(model: Any, images: torch.Tensor, grid: tuple[int, int],
               strategy: Strategy) -> tuple[int, int]:
    """Count a training step of one image, and the encoder's share."""
    sample = _planned_sample(grid, strategy)
    return count_macs(
        lambda: model.loss(images, [sample])['loss'].backward(),
        model.backbone)


def _planned_sample(grid: tuple[int, int], strategy: Strategy) -> DataSample:
    """Return a sample whose plan has the counts of a strategy."""
    flags = np.repeat(np.array([MASKED, THROWN, VISIBLE], np.int8),
                      strategy.counts)
    flags[:strategy.num_unpredicted] = UNPREDICTED
    sample = DataSample()
    sample.set_field(flags.reshape(grid), 'mask_plan')
    sample.set_field(np.ones(grid, np.float32), 'saliency')
    return sample


# ---- memory


def step_bytes(cfg: Config) -> tuple[int, int]:
    """Return the bytes of a training step in float32: of weights, of an image.

    Of each weight there are its gradient and the two moments of AdamW, too. Of
    an image it is what is kept for the backward pass, in the warm-up or at the
    first and last epochs, whichever is most. Counted on tensors without data.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    generator = find_generator(cfg)
    model, images = _on_meta(cfg, generator.tokens)
    epochs = 0, cfg.train_cfg.max_epochs - 1
    strategies = [generator.warmup, *map(generator.strategy_at, epochs)]
    weights = sum(p.nbytes for p in model.parameters())
    return 4 * weights, max(
        saved_bytes(model, partial(model.loss, images, [_planned_sample(
            generator.tokens, _per_token(generator, strategy))]))
        for strategy in strategies)


def saved_bytes(model: torch.nn.Module, forward: Callable[[], Any]) -> int:
    """Return the bytes that a forward keeps for its backward.

    A storage that several operations keep counts once, a weight not at all.
    """
    # tensors without data have no address, but a storage of their own
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            # held, so that its number is not used twice meanwhile
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in kept.values())


def check_schedulers(cfg: Config) -> None:
    """Raise ValueError if a run ends before one of its schedules begins."""
    max_epochs = cfg.train_cfg.max_epochs
    for index, scheduler in enumerate(cfg.get('param_scheduler') or ()):
        begin = scheduler.get('begin', 0)
        if scheduler.get('by_epoch', True) and begin >= max_epochs:
            raise ValueError(
                f'param_scheduler.{index}.begin must be < max_epochs, got '
                f'{begin} and {max_epochs}: a shorter run needs a shorter '
                'warm-up.')


def peak_learning_rate(cfg: Config,
                       world_size: int = 1) -> tuple[int, float, str]:
    """Return effective batch size, peak rate, and where that comes from."""
    # mmengine scales by the batch of one step, without accumulation
    real = cfg.train_dataloader.batch_size * world_size
    batch_size = real * cfg.optim_wrapper.get('accumulative_counts', 1)
    lr = cfg.optim_wrapper.optimizer.lr
    rule = cfg.get('auto_scale_lr') or {}
    base = rule.get('base_batch_size')
    if not base or base == batch_size:
        return batch_size, lr, 'as in the config'
    if rule.get('enable'):
        return batch_size, lr * real / base, f'{lr:.3g} scaled from {base}'
    return batch_size, lr, (
        f'meant for a batch of {base}: --auto-scale-lr would scale it')
