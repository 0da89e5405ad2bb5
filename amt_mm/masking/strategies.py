"""A strategy is counts, an ordering and a layout, each chosen by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amt_mm.arguments import check_config, error_context
from amt_mm.masking.plan import ROLES, TokenCounts
from amt_mm.registry import TASK_UTILS


class Strategy(NamedTuple):
    """How the cells of an image get their roles."""

    counts: TokenCounts
    ordering: Any
    layout: Any

    @classmethod
    def build(cls, counts: TokenCounts, ordering: dict,
              layout: dict) -> Strategy:
        """Build the ordering and the layout from their configs."""
        return cls(counts, build_strategy('ordering', ordering),
                   build_strategy('layout', layout))

    def plan(self, weights: np.ndarray) -> np.ndarray:
        """Return int8 flags (h, w) for the weights P_A (h, w)."""
        flags = np.empty(weights.size, np.int8)
        order = self.ordering(weights, self.counts.masked)
        flags[order] = self.layout(self.counts)
        return flags.reshape(weights.shape)

    def check(self, grid: tuple[int, int]) -> None:
        """Try the strategy once; the random numbers to come stay the same.

        Raises:
            ValueError: If the order is no permutation of the patches, or the
                layout does not keep the counts.
        """
        state = np.random.get_state()
        order = self.ordering(np.random.random(grid), self.counts.masked)
        flags = self.layout(self.counts)
        np.random.set_state(state)
        num = sum(self.counts)
        if sorted(np.asarray(order).tolist()) != list(range(num)):
            raise ValueError(f'{type(self.ordering).__name__} must return a '
                             f'permutation of the {num} patches, got '
                             f'{order!r}.')
        counts = tuple(int((flags == role).sum()) for role in ROLES.values())
        if counts != self.counts or len(flags) != num:
            raise ValueError(
                f'{type(self.layout).__name__} must give (masked, thrown, '
                f'visible) {tuple(self.counts)}, got {counts}.')


def build_strategy(kind: str, cfg: dict, name: str | None = None) -> Any:
    """Build an ordering, a layout or a schedule.

    Args:
        kind (str): ``'ordering'``, ``'layout'`` or ``'schedule'``.
        cfg (dict): Its config, with ``type``.
        name (str, optional): The argument that it is. Defaults to ``kind``.

    Raises:
        KeyError: If the name is not registered; the message lists those that
            are.
        TypeError: If what it names is of the other kind.
    """
    name = name or kind
    wanted = check_config(name, cfg)['type']
    if isinstance(wanted, str) and TASK_UTILS.get(wanted) is None:
        raise KeyError(f'{name} must be one of {strategies(kind)}, got '
                       f'{wanted!r}.')
    with error_context(f'cannot build {name} from', cfg):
        built = TASK_UTILS.build(cfg)
    if kind_of(built) != kind:
        raise TypeError(f'{name} must be one of {strategies(kind)}, got '
                        f'{type(built).__name__}.')
    return built


def strategies(kind: str) -> list[str]:
    """List the registered names of one kind."""
    return sorted(f'amt_mm.{name}'
                  for name, cls in TASK_UTILS.module_dict.items()
                  if kind_of(cls) == kind)


def kind_of(strategy: Any) -> str:
    """Tell the kinds apart by what only they have, class or object."""
    if hasattr(strategy, 'needs_saliency'):
        return 'ordering'
    return 'schedule' if hasattr(strategy, 'boundary_epochs') else 'layout'
