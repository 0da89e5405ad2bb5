"""Curves of runs, as figures of plotly: one quantity a chart."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from plotly import graph_objects as go

MAX_POINTS = 800


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        run (int): Index of its run, which gives the colour.
        name (str): Name of its run.
        x (list[float]): Epochs trained.
        y (list[float]): Values; not a number where there is a gap.
        is_reference (bool): Whether it is dotted, to compare with.
    """

    run: int
    name: str
    x: list[float]
    y: list[float]
    is_reference: bool = False


@dataclass(frozen=True)
class Chart:
    """One quantity of all runs.

    Attributes:
        title (str): What is shown.
        unit (str): Its unit, or a few words that tell of its scale.
        note (str): What the reader should know.
        curves (list[Curve]): At least one.
        y_range (tuple[float, float], optional): Of the axis; by default that
            of the values.
    """

    title: str
    unit: str
    note: str
    curves: list[Curve]
    y_range: tuple[float, float] | None = None

    def figure(self) -> dict[str, Any]:
        """Return the chart for plotly, without colours."""
        return go.Figure(
            data=[_trace(curve) for curve in self.curves],
            layout=dict(
                margin=dict(l=52, r=12, t=8, b=40),
                showlegend=False,
                hovermode='x unified',
                xaxis=dict(
                    title=dict(text='epochs trained', standoff=8),
                    rangemode='tozero', zeroline=False, hoverformat='.1f'),
                yaxis=dict(
                    range=self.y_range, zeroline=False, nticks=6,
                    hoverformat='.4~g',
                    exponentformat='power'))).to_plotly_json()


def _trace(curve: Curve) -> go.Scatter:
    # plotly takes names for its own kind of HTML
    name = html.escape(curve.name) + ', reference' * curve.is_reference
    few = len(curve.x) <= 60
    return go.Scatter(
        x=curve.x, y=[round_to(v) for v in curve.y], name=name,
        meta=curve.run, mode='lines+markers' if few and not
        curve.is_reference else 'lines',
        marker=dict(size=5),
        line=dict(width=1.5 if curve.is_reference else 2,
                  dash='dot' if curve.is_reference else 'solid'))


def round_to(value: float) -> float | None:
    """Round to six digits, which no picture shows; None is a gap."""
    return float(f'{value:.6g}') if isfinite(value) else None


def curve(run: int, name: str, records: Sequence[dict[str, float]], key: str,
          x: Callable[[dict[str, float]], float],
          is_reference: bool = False,
          factor: float = 1) -> list[Curve]:
    """Draw one key of the records that have it; nothing if none has."""
    points = np.array([(x(r), r[key] * factor) for r in records if key in r])
    if not len(points):
        return []
    xs, ys = thin(points).T
    return [Curve(run, name, [float(f'{v:.6g}') for v in xs], ys.tolist(),
                  is_reference)]


def thin(points: np.ndarray) -> np.ndarray:
    """Average neighbours of (N, 2) points, so that MAX_POINTS are left."""
    if len(points) <= MAX_POINTS:
        return points
    chunks = np.array_split(points, MAX_POINTS)
    return np.array([chunk.mean(0) for chunk in chunks])
