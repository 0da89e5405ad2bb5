"""Runs on one page of HTML."""

from .render_page import write_report
from .run_folder import NoRunError, Run, read_run

__all__ = ['NoRunError', 'Run', 'read_run', 'write_report']
