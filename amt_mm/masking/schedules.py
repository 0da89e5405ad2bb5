"""Values that change from epoch to epoch."""

from __future__ import annotations

from typing import Any

from amt_mm.arguments import check_int, check_number
from amt_mm.registry import SCHEDULES, TASK_UTILS


@SCHEDULES.register_module()
class LinearSchedule:
    """Go from one value to another in a straight line over the epochs.

    Args:
        start (float): The value up to epoch ``begin``.
        end (float): The value from epoch ``until`` on.
        until (int): A 0-based epoch, after ``begin``.
        begin (int): A 0-based epoch. Defaults to 0.
    """

    def __init__(self,
                 start: float,
                 end: float,
                 until: int,
                 begin: int = 0) -> None:
        self.start = check_number('start', start, '(-inf, inf)')
        self.end = check_number('end', end, '(-inf, inf)')
        self.begin = check_int('begin', begin, 0)
        self.until = check_int('until', until, 0)
        if until <= begin:
            raise ValueError(f'until must be > begin, got {until} and '
                             f'{begin}.')

    @property
    def boundary_epochs(self) -> tuple[int, ...]:
        """Epochs at which the value may be the largest or the smallest."""
        return self.begin, self.until

    def at(self, epoch: int) -> float:
        """Return the value in a 0-based epoch."""
        share = (epoch - self.begin) / (self.until - self.begin)
        share = min(max(share, 0.), 1.)
        value = (1 - share) * self.start + share * self.end
        return round(value, 9)  # a ratio of 0.6 is not 0.6000000000000001


class Scheduled:
    """A config in which schedules, at any depth, may replace numbers."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        self.boundary_epochs: set[int] = set()
        self.cfg = self._parse(cfg)

    @property
    def is_constant(self) -> bool:
        """Whether every epoch has the same values."""
        return not self.boundary_epochs

    def at(self, epoch: int) -> dict[str, Any]:
        """Return the config of a 0-based epoch."""
        return _at(self.cfg, epoch)

    def _parse(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        name = node.get('type')
        # a class, unlike a name, is found by a worker that was spawned
        cls = TASK_UTILS.get(name) if isinstance(name, str) else name
        if hasattr(cls, 'boundary_epochs'):
            schedule = SCHEDULES.build(node)
            self.boundary_epochs.update(schedule.boundary_epochs)
            return schedule
        node = {key: self._parse(value) for key, value in node.items()}
        return {**node, 'type': cls} if cls else node


def _at(node: Any, epoch: int) -> Any:
    if isinstance(node, dict):
        return {key: _at(value, epoch) for key, value in node.items()}
    return node.at(epoch) if hasattr(node, 'boundary_epochs') else node
