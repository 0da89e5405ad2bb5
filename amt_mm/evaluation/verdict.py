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
MAX_RISE = 0.25  # of the loss, over its lowest
MIN_RANK, MIN_SPREAD = 1.7, 0.027  # below one of them, all features are one
MAX_ENTROPY = 0.999  # of maps that tell patches apart
MAX_GAP = 0.02  # of the losses, over that at first, of what they fell
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
    name, losses = _losses(checkups)
    at = _lowest(losses)
    epoch = checkups[at].epoch
    if _is_quiet(checkups, at):
        return Verdict(STOPPED, f' since epoch {epoch}: {name} was '
                       f'{losses[at]:.4g} then and is {losses[-1]:.4g}')
    return Verdict(LEARNING, f': {name} is {losses[-1]:.4g}, after '
                   f'{losses[0]:.4g} at first and {losses[at]:.4g} in epoch '
                   f'{epoch}')


def diverging(checkups: Sequence[Checkup]) -> str:
    """Say so if the loss is not finite, or far above its lowest."""
    losses = [checkup.loss for checkup in checkups]
    if not isfinite(losses[-1]):
        return 'the loss is not finite'
    lowest = min(filter(isfinite, losses))
    return f'the loss is {losses[-1]:.4g}, after {lowest:.4g}' \
        if losses[-1] > (1 + MAX_RISE) * lowest else ''


def collapsed(checkups: Sequence[Checkup]) -> str:
    """Say so if the features of all images point the same way, twice."""
    last = checkups[-1]
    return (f'the features of all images are nearly the same, RankMe '
            f'{last.rank_me:.2f}, spread {last.spread:.3f}') \
        if all(c.rank_me < MIN_RANK or c.spread < MIN_SPREAD
               for c in checkups[-2:]) else ''


def memorising(checkups: Sequence[Checkup]) -> str:
    """Say so if images that are not trained on no longer gain, and lag."""
    name, losses = _losses(checkups)
    at = _lowest(losses)
    first, last = checkups[0], checkups[-1]
    if last.heldout_loss is None or first.heldout_loss is None \
            or not _is_quiet(checkups, at):
        return ''
    gap = last.heldout_loss - last.loss - (first.heldout_loss - first.loss)
    return (f'{name} has been above {losses[at]:.4g} since epoch '
            f'{checkups[at].epoch}, that of trained images is {last.loss:.4g}'
            ) if gap > MAX_GAP * (first.loss - last.loss) else ''


def uniform(checkups: Sequence[Checkup]) -> str:
    """Say so if all patches weigh the same."""
    entropy = checkups[-1].entropy
    return f'the entropy of the maps is {entropy:.4f}, of 1 at most' \
        if entropy is not None and entropy > MAX_ENTROPY else ''


SICKNESSES: dict[str, Rule] = {
    'diverging': diverging,
    'collapsed': collapsed,
    'memorising': memorising,
    'saliency uniform': uniform,
}


def _is_quiet(checkups: Sequence[Checkup], lowest: int) -> bool:
    """Whether the lowest loss is so old that no lower one is to come."""
    last = checkups[-1].epoch
    return (len(checkups) - 1 - lowest >= PATIENCE
            and last - checkups[lowest].epoch >= QUIET_SHARE * last)


def _losses(checkups: Sequence[Checkup]) -> tuple[str, list[float]]:
    """Return a name, and the losses by it: held out, where all have them."""
    heldout = [c.heldout_loss for c in checkups if c.heldout_loss is not None]
    if len(heldout) == len(checkups):
        return 'the held-out loss', heldout
    return 'the loss', [checkup.loss for checkup in checkups]


def _lowest(losses: Sequence[float]) -> int:
    """Return where a loss was last clearly below all before it."""
    lowest = 0
    for i, loss in enumerate(losses):
        if loss < (1 - MIN_FALL) * losses[lowest]:
            lowest = i
    return lowest
