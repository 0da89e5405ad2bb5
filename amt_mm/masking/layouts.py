"""Layouts: give each rank of an order its role, counts -> flags by rank.

Rank 0 is the first patch of the order, the most salient by tendency. A layout
is called with the counts and returns int8 flags (L,).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any

import numpy as np

from amt_mm.arguments import check_number
from amt_mm.registry import LAYOUTS

from .plan import MASKED, THROWN, VISIBLE, TokenCounts


@cache
def _fixed(*runs: tuple[int, int]) -> np.ndarray:
    """Return int8 flags made of (role, count) runs; read-only, shared."""
    flags = np.concatenate([np.full(n, role, np.int8) for role, n in runs])
    flags.flags.writeable = False
    return flags


@LAYOUTS.register_module()
class ThrowMiddle:
    """Mask the first ranks, throw the middle, keep the last visible (Eq. 6).

    Source: AMT, section 3.2; the default of the paper.
    """

    def __call__(self, counts: TokenCounts) -> np.ndarray:
        return _fixed((MASKED, counts.masked), (THROWN, counts.thrown),
                      (VISIBLE, counts.visible))


@LAYOUTS.register_module()
class ThrowLow:
    """Mask the first ranks, keep the middle visible, throw the last.

    Source: AMT, Table 4, the row without throwing the middle tokens.
    """

    def __call__(self, counts: TokenCounts) -> np.ndarray:
        return _fixed((MASKED, counts.masked), (VISIBLE, counts.visible),
                      (THROWN, counts.thrown))


@LAYOUTS.register_module()
class ThrowRandom:
    """Mask the first ranks; which of the others are thrown is random."""

    def __call__(self, counts: TokenCounts) -> np.ndarray:
        rest = _fixed((THROWN, counts.thrown), (VISIBLE, counts.visible))
        masked = _fixed((MASKED, counts.masked))
        return np.concatenate([masked, np.random.permutation(rest)])


@LAYOUTS.register_module()
class ShowHints:
    """Show a random few of the first ranks; another layout does the rest.

    With ``AttMaskHighOrdering`` it is AttMask-Hint, but for the counts: the
    hints count as visible and the mask reaches further down instead, so that
    the ratios hold. Numbers of ranks are rounded up. Source: `What to Hide
    from Your Students <https://arxiv.org/abs/2203.12719>`_, section 3.2.

    Args:
        hint_ratio (float): Share of the top ranks that is shown, in (0, 1].
            Defaults to 0.5.
        top_ratio (float): Share of all ranks that is the top, in (0, 1).
            Defaults to 0.1.
        rest (dict): The layout of the other ranks.
            Defaults to ``dict(type='amt_mm.ThrowMiddle')``.
    """

    def __init__(self,
                 hint_ratio: float = 0.5,
                 top_ratio: float = 0.1,
                 rest: dict[str, Any] | None = None) -> None:
        self.hint_ratio = check_number('hint_ratio', hint_ratio, '(0, 1]')
        self.top_ratio = check_number('top_ratio', top_ratio, '(0, 1)')
        if rest is None:
            rest = dict(type='amt_mm.ThrowMiddle')
        self.rest = LAYOUTS.build(rest, 'rest')

    def __call__(self, counts: TokenCounts) -> np.ndarray:
        num_top = _round_up(self.top_ratio, sum(counts))
        num_hints = _round_up(self.hint_ratio, num_top)
        if num_hints > counts.visible:
            raise ValueError(
                f'hint_ratio {self.hint_ratio} of top_ratio {self.top_ratio} '
                f'must show at most the {counts.visible} visible of '
                f'{sum(counts)} tokens, got {num_hints} hints: lower one of '
                'them, or mask_ratio or throw_ratio.')
        is_rest = np.ones(sum(counts), bool)
        is_rest[np.random.permutation(num_top)[:num_hints]] = False
        flags = np.full(sum(counts), VISIBLE, np.int8)
        flags[is_rest] = self.rest(
            counts._replace(visible=counts.visible - num_hints))
        return flags


def _round_up(ratio: float, number: int) -> int:
    """Return a decimal share of a number, rounded up."""
    return ceil(Fraction(str(ratio)) * number)
