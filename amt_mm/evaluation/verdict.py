"""Whether a run learns, from its checkups alone.

docs/is_it_learning.md has the rules in words, the runs that the thresholds
were chosen on, and those that they were tried on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite

from .checkup import Checkup

LEARNING, STOPPED, SICK = 'learning', 'no longer learning', 'sick'
SCALES = 0.1, 10.  # of normalised images, from and to
MAX_RISE = 0.25  # of the loss, over its lowest
MIN_RANK, MIN_SPREAD = 1.7, 0.027  # below one of them, all features are one
RANK_LEFT, SPREAD_LEFT = 0.15, 0.2  # of those at first, below both
MAX_ENTROPY = 0.999  # of maps that tell patches apart
MAX_LAG = 0.07  # of the held-out loss, over that at first, of the other
LAG_GROWTH, LAG_SINCE = 1.5, 1 / 3  # times that after a share of the run
SURE_LAG = 0.1  # whatever it was
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
    first, last = checkups[0], checkups[-1]
    name, loss, at_first = 'the loss', last.loss, first.loss
    if last.heldout_loss is not None and first.heldout_loss is not None:
        name = 'the held-out loss'
        loss, at_first = last.heldout_loss, first.heldout_loss
    low = _lowest(checkups)
    num_since = sum(checkup.epoch > low for checkup in checkups)
    if num_since >= PATIENCE and last.epoch - low >= QUIET_SHARE * last.epoch:
        return Verdict(STOPPED, f' since epoch {low}: {name}, now {loss:.4g}, '
                       'has not fallen since under equal plans')
    return Verdict(LEARNING, f': {name} is {loss:.4g}, after {at_first:.4g} '
                   f'at first; its last low was in epoch {low}')


def diverging(checkups: Sequence[Checkup]) -> str:
    """Say so if the loss is not finite, or far above its lowest."""
    loss, gains = checkups[-1].loss, _gains(checkups)
    if not isfinite(loss):
        return 'the loss is not finite'
    rise = max(filter(isfinite, gains)) - gains[-1]
    return (f'the loss is {loss:.4g}, {rise:.4g} above its lowest under equal '
            'plans') if rise > MAX_RISE * (loss - rise) else ''


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
    """Say so if images that are not trained on lag more and more."""
    first, last = checkups[0], checkups[-1]
    since = next(c for c in checkups if c.epoch >= LAG_SINCE * last.epoch)
    lag, before = _lag(last, first), _lag(since, first)
    return (f'the held-out loss is {last.heldout_loss:.4g}, that of trained '
            f'images {last.loss:.4g}; beside the start it lags by {lag:.1%}, '
            f'and did by {before:.1%} in epoch {since.epoch}'
            ) if lag > min(SURE_LAG, max(MAX_LAG, LAG_GROWTH * before)) else ''


def _lag(now: Checkup, first: Checkup) -> float:
    """Return by how much more than at first the held-out loss is the higher.

    As a share of the other; 0 where nothing is held out.
    """
    if now.heldout_loss is None or first.heldout_loss is None:
        return 0.
    gap = now.heldout_loss - now.loss
    return (gap - (first.heldout_loss - first.loss)) / now.loss


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


def _gains(checkups: Sequence[Checkup], name: str = 'gain') -> list[float]:
    """Return by how much a loss fell up to each checkup, under equal plans."""
    return list(accumulate(getattr(checkup, name) for checkup in checkups))


def _lowest(checkups: Sequence[Checkup]) -> int:
    """Return the epoch in which the loss was last clearly lower than before.

    It is the held-out loss, if there is one.
    """
    gains = _gains(checkups, 'heldout_gain')
    lowest, best = checkups[0].epoch, gains[0]
    for checkup, gain in zip(checkups, gains, strict=True):
        if gain > best + MIN_FALL * checkup.loss:
            lowest, best = checkup.epoch, gain
    return lowest
