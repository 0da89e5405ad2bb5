"""Deprecated name of :class:`amt_mm.models.base.BaseAMT`."""

from .base import BaseAMT as PlanSupervisor

__all__ = ['PlanSupervisor']
