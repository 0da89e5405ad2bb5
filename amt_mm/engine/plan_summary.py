"""The plan of a run, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from amt_mm.masking.plan import TokenCounts

IMAGENET_SIZE = 1_281_167


@dataclass(frozen=True)
class Phase:
    """Epochs of one kind.

    Where ratios are scheduled, ``counts`` are those of the phase's first epoch
    and ``last_counts`` those of its last, and the rest is the epochs' mean.

    Attributes:
        name (str): What the phase is called.
        epochs (int): Its length.
        counts (TokenCounts): Masked, thrown and visible tokens of an image.
        last_counts (TokenCounts): The same, in the last epoch.
        macs (float): Multiply-accumulates of a training step, for one image.
        encoder_macs (float): The encoder's share of them.
    """

    name: str
    epochs: int
    counts: TokenCounts
    last_counts: TokenCounts
    macs: float
    encoder_macs: float

    @property
    def tokens(self) -> str:
        """Say the counts."""
        ends = dict.fromkeys((self.counts, self.last_counts))
        return ' at first, at last '.join(
            f'{c.masked} masked, {c.thrown} thrown, {c.visible} visible'
            for c in ends) + f' of {sum(self.counts)} tokens'

    def __str__(self) -> str:
        decoder_macs = self.macs - self.encoder_macs
        return (f'{self.name:8s} {self.epochs:5d} epochs: {self.tokens}; '
                f'{self.macs / 1e9:.4g} GMACs an image (encoder '
                f'{self.encoder_macs / 1e9:.4g}, decoder '
                f'{decoder_macs / 1e9:.4g})')


@dataclass(frozen=True)
class CostEstimate:
    """Tokens, schedule and cost of a whole pre-training run.

    The multiply-accumulates are counted on the operations that run, forward
    and backward, on tensors without data.

    Attributes:
        phases (tuple[Phase]): Warm-up, then training.
        stock_macs (float): Multiply-accumulates of the same method that throws
            nothing, at the warm-up ratios, for one image.
        saliency_macs (int): Those of one image's saliency map.
        map_bytes (int): Size of one image's map in the store.
        updates (range): The 0-based epochs before which saliency is updated.
        batch_size (int): Images of one optimiser step, over all processes.
        lr (float): Peak learning rate, as it will be.
        lr_rule (str): Where the rate comes from.
    """

    phases: tuple[Phase, ...]
    stock_macs: float
    saliency_macs: int
    map_bytes: int
    updates: range
    batch_size: int
    lr: float
    lr_rule: str

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
