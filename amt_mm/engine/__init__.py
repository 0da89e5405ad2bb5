"""What knows the run: hooks, optimisers, and the cost of a whole run."""

from .cost import CostEstimate, estimate_cost
from .hooks import *  # noqa: F401,F403
from .optimizers import *  # noqa: F401,F403
from .sources import *  # noqa: F401,F403

__all__ = ['CostEstimate', 'estimate_cost']
