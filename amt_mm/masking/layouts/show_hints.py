"""Leave some of the first ranks visible."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from amt_mm.arguments import check_number
from amt_mm.masking.plan import VISIBLE, TokenCounts
from amt_mm.masking.strategies import build_strategy
from amt_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
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
        self.rest = build_strategy('layout', rest, 'rest')

    def __call__(self, counts: TokenCounts) -> np.ndarray:
        """Return int8 flags (L,) by rank.

        Raises:
            ValueError: If there are more hints than visible tokens.
        """
        num_top = _share(self.top_ratio, sum(counts))
        num_hints = _share(self.hint_ratio, num_top)
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


def _share(ratio: float, number: int) -> int:
    """Round a decimal share of a number up."""
    return ceil(Fraction(str(ratio)) * number)
