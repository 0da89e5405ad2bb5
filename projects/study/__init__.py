"""Studies: many runs that differ in one thing each, and what came out."""

from .plan import Row, Study, read_study
from .results import Results
from .run import Run, runs_of
from .stages import STAGES, run_study
from .table import draw, render

__all__ = [
    'STAGES', 'Results', 'Row', 'Run', 'Study', 'draw', 'read_study', 'render',
    'run_study', 'runs_of'
]
