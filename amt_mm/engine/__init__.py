"""What knows the run: hooks, optimisers, and the plan of a whole run."""

from .hooks import *  # noqa: F401,F403
from .optimizers import *  # noqa: F401,F403
from .plan_summary import TrainingPlan
from .sources import *  # noqa: F401,F403
from .training_plan import training_plan

__all__ = ['TrainingPlan', 'training_plan']
