"""Whether a run learns, from its checkups alone.

docs/is_it_learning.md has the rules in words, the runs that the thresholds
were chosen on, and those that they were tried on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from .checkup import Checkup

LEARNING, STOPPED, SICK = 'learning', 'no longer learning', 'sick'
SCALES = 0.1, 10.  # of normalised images, from and to
MAX_RISE = 0.25  # of the loss, over its lowest
MIN_RANK, MIN_SPREAD = 1.7, 0.027  # below one of them, all features are one
RANK_LEFT, SPREAD_LEFT = 0.15, 0.2  # of those at first, below both
MAX_ENTROPY = 0.999  # of maps that tell patches apart
MAX_LAG = 0.07  # of the held-out loss, over that at first, of the other
HELDOUT_SHARE = 0.5  # of what trained images gain
GAIN_SINCE = 1 / 3  # of the run
MIN_FALL = 0.002  # of the loss, for a new lowest
PATIENCE, QUIET_SHARE = 4, 0.25  # checkups, and epochs, without one
Rule = Callable[[Sequence[Checkup]], str]


@dataclass(frozen=True)
class Verdict:
    """Whether a run learns; its text is one sentence.

    Attributes:
        kind (str): ``'learning'``, ``'no longer learning'`` or ``'sick'``.
        why (str): The rest of the sentence, with its numbers.
        sickness (str): A name of :data:`SICKNESSES`, or nothing.
    """

    kind: str
    why: str
    sickness: str = ''

    def __str__(self) -> str:
        """Return the sentence, without a full stop."""
        return f'{self.kind}{self.sickness and f", {self.sickness}"}{self.why}'


def judge(checkups: Sequence[Checkup]) -> Verdict:
    """Return the verdict on a run.

    Args:
        checkups (Sequence[Checkup]): In order, the first of epoch 0.
    """
    for name, rule in SICKNESSES.items():
        if why := rule(checkups):
            return Verdict(SICK, f': {why}', name)
    name, losses, lowest = _lowest(checkups)
    low, last = losses[lowest.epoch], losses[checkups[-1].epoch]
    if _is_quiet(checkups, lowest):
        return Verdict(STOPPED, f' since epoch {lowest.epoch}: {name} was '
                       f'{low:.4g} then and is {last:.4g}')
    return Verdict(LEARNING, f': {name} is {last:.4g}, after '
                   f'{losses[checkups[0].epoch]:.4g} at first and {low:.4g} '
                   f'in epoch {lowest.epoch}')


def diverging(checkups: Sequence[Checkup]) -> str:
    """Say so if the loss is not finite, or far above its lowest."""
    losses = [checkup.loss for checkup in _alike(checkups)]
    if not isfinite(losses[-1]):
        return 'the loss is not finite'
    lowest = min(filter(isfinite, losses))
    return f'the loss is {losses[-1]:.4g}, after {lowest:.4g}' \
        if losses[-1] > (1 + MAX_RISE) * lowest else ''


def collapsed(checkups: Sequence[Checkup]) -> str:
    """Say so if the features of all images point the same way, twice."""
    first, last = checkups[0], checkups[-1]
    return (f'the features of all images are nearly the same, RankMe '
            f'{last.rank_me:.2f}, {first.rank_me:.2f} at first, spread '
            f'{last.spread:.3f}, {first.spread:.3f}') if all(
        c.rank_me < MIN_RANK or c.spread < MIN_SPREAD
        or (c.rank_me < RANK_LEFT * first.rank_me
            and c.spread < SPREAD_LEFT * first.spread)
        for c in checkups[-2:]) else ''


def memorising(checkups: Sequence[Checkup]) -> str:
    """Say so if images that are not trained on lag, and gain far less."""
    first, last = checkups[0], checkups[-1]
    since = next(c for c in _alike(checkups)
                 if c.epoch >= GAIN_SINCE * last.epoch)
    if last.heldout_loss is None or first.heldout_loss is None \
            or since.heldout_loss is None:
        return ''
    lag = last.heldout_loss - last.loss - (first.heldout_loss - first.loss)
    gain = since.heldout_loss - last.heldout_loss
    return (f'the held-out loss went from {since.heldout_loss:.4g} in epoch '
            f'{since.epoch} to {last.heldout_loss:.4g}, that of trained '
            f'images from {since.loss:.4g} to {last.loss:.4g}'
            ) if lag > MAX_LAG * last.loss and \
        gain < HELDOUT_SHARE * (since.loss - last.loss) else ''


def uniform(checkups: Sequence[Checkup]) -> str:
    """Say so if all patches weigh the same."""
    entropy = checkups[-1].entropy
    return f'the entropy of the maps is {entropy:.4f}, of 1 at most' \
        if entropy is not None and entropy > MAX_ENTROPY else ''


def unnormalised(checkups: Sequence[Checkup]) -> str:
    """Say so if mean and standard deviation are not those of the images."""
    scale = checkups[-1].scale
    return '' if scale is None or SCALES[0] <= scale <= SCALES[1] else (
        f'their standard deviation is {scale:.3g}, and should be near 1: '
        'compare mean and std of data_preprocessor with the values of the '
        'images')


SICKNESSES: dict[str, Rule] = {
    'images not normalised': unnormalised,
    'diverging': diverging,
    'collapsed': collapsed,
    'memorising': memorising,
    'saliency uniform': uniform,
}


def _alike(checkups: Sequence[Checkup]) -> Sequence[Checkup]:
    """Return the last checkups under plans of one kind."""
    start = len(checkups) - 1
    while start and checkups[start - 1].is_informed == \
            checkups[-1].is_informed:
        start -= 1
    return checkups[start:]


def _lowest(checkups: Sequence[Checkup]
            ) -> tuple[str, dict[int, float], Checkup]:
    """Return the name of a loss, its value by epoch, and where it was lowest.

    It is that of the held-out images, if all checkups have it; and a value is
    a new lowest if it is clearly below all before it, of plans of one kind.
    """
    name = 'the held-out loss'
    losses = {c.epoch: c.heldout_loss for c in checkups
              if c.heldout_loss is not None}
    if len(losses) < len(checkups):
        name, losses = 'the loss', {c.epoch: c.loss for c in checkups}
    lowest, *others = _alike(checkups)
    for checkup in others:
        if losses[checkup.epoch] < (1 - MIN_FALL) * losses[lowest.epoch]:
            lowest = checkup
    return name, losses, lowest


def _is_quiet(checkups: Sequence[Checkup], lowest: Checkup) -> bool:
    """Whether the lowest loss is so old that no lower one is to come."""
    last = checkups[-1].epoch
    num_since = sum(checkup.epoch > lowest.epoch for checkup in checkups)
    return (num_since >= PATIENCE
            and last - lowest.epoch >= QUIET_SHARE * last)
