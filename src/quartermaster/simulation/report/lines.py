"""From many runs' curves and samples to few points: what is drawn.

A run over 67,000 jobs has a point for each event; a plot has some hundred pixels. Curves over the load are read at
common points and averaged over seeds. Curves over time are steps, so they become time-weighted means over equal
intervals: picking every n-th point instead would show spikes or not by chance. Samples become quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quartermaster.simulation.results import Curve

POINTS: Final = 160
"""Points of a drawn line: more than that cannot be told apart at the size of a plot."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line to draw; `spread` is the standard deviation at each point, 0 where there is one seed."""

    label: str
    x: Floats
    y: Floats
    spread: Floats


def over_load(label: str, curves: Sequence[Curve]) -> Line | None:
    """Mean and spread over seeds, at the x that the first curve has; nothing if there is no curve with a point."""
    curves = [curve for curve in curves if curve.x]
    if not curves:
        return None
    low, high = max(curve.x[0] for curve in curves), min(curve.x[-1] for curve in curves)
    x = np.array([value for value in curves[0].x if low <= value <= high])
    if not len(x):
        return None
    if len(x) > POINTS:
        x = np.linspace(low, high, POINTS)
    return _mean(label, x, np.array([np.interp(x, curve.x, curve.y) for curve in curves]))


def over_time(label: str, curves: Sequence[Curve], *, end: float, points: int = POINTS) -> Line | None:
    """Mean and spread over seeds of the step functions, averaged over equal intervals up to `end`; 0 after a curve."""
    curves = [curve for curve in curves if curve.x]
    if not curves or end <= 0:
        return None
    edges = np.linspace(0, end, points + 1)
    x = (edges[1:] + edges[:-1]) / 2
    return _mean(label, x, np.array([_interval_means(curve, edges) for curve in curves]))


def _interval_means(curve: Curve, edges: Floats) -> Floats:
    """The integral of the steps, read at the edges: exact, however many events fall into an interval."""
    x, y = np.array(curve.x), np.array(curve.y)
    integral = np.concatenate(([0.0], np.cumsum(np.diff(x) * y[:-1])))
    return np.diff(np.interp(edges, x, integral)) / np.diff(edges)


def distribution(label: str, samples: Sequence[Sequence[float]], *, floor: float) -> Line | None:
    """Share of all samples, in %, at or below x; samples below `floor` count as `floor`, which a log axis can show."""
    pooled = np.sort(np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples])) if samples else None
    if pooled is None or not len(pooled):
        return None
    pooled = np.maximum(pooled, floor)
    count = min(len(pooled), POINTS)
    rank = np.unique(np.linspace(0, len(pooled) - 1, count).round().astype(np.int64))
    x, last = np.unique(pooled[rank], return_index=False), len(pooled)
    y = np.searchsorted(pooled, x, side="right") / last * 100
    return Line(label=label, x=x, y=y, spread=np.zeros(len(x)))


def _mean(label: str, x: Floats, values: Floats) -> Line:
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(x))
    return Line(label=label, x=x, y=values.mean(axis=0), spread=spread)
