"""Which plots a page has: those that the runs have data for, each with what it shows and why one would look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from quartermaster.simulation.report.axis import Axis, linear, log_time, time_unit
from quartermaster.simulation.report.lines import Line, distribution, over_load, over_time
from quartermaster.simulation.report.svg import Plot
from quartermaster.simulation.results import Curve, Experiment, Run

ARRIVED: Final = "GPU demand arrived (% of all GPUs)"
PARTING: Final = 80.0
"""% arrived from which policies differ: below it the cluster has room for nearly everything."""

QUEUES: Final = 7
"""Queues drawn by name; the rest are one area."""

FLOOR: Final = 1.0
"""Seconds that the log axis of waits begins at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, a paragraph, and plots."""

    key: str
    title: str
    text: str
    plots: tuple[Plot, ...]


def sections(experiment: Experiment) -> list[Section]:
    """The sections that have data."""
    found = (_load(experiment), _fragments(experiment), _power(experiment), _times(experiment), _course(experiment))
    return [section for section in (*found, _queues(experiment)) if section and section.plots]


def _load(experiment: Experiment) -> Section:
    lines = _over_load(experiment, "allocation")
    plots = []
    if lines:
        ends = max(float(line.x[-1]) for line in lines)
        x = linear(ARRIVED, 0, ends, whole=False)
        y = linear("GPU allocated (%)", 0, max(float(line.y.max()) for line in lines), ticks=5)
        title = "Allocation against arrived load"
        text = "The line would be straight if everything that arrives found a place."
        plots.append(_plot(experiment, "allocation", title, text, x, y, lines))
        if ends > PARTING + 5:
            near = [_from(line, PARTING) for line in lines]
            y = linear("GPU allocated (%)", *_range(near), ticks=5)
            x = linear(ARRIVED, PARTING, ends, whole=False)
            title = "Where the policies part"
            text = f"The same from {PARTING:.0f} % on, enlarged: the scale does not begin at 0."
            plots.append(_plot(experiment, "allocation-near", title, text, x, y, near))
    text = "How much of the cluster is in use once so much was asked for. Higher is better; the gap to 100 % is GPUs"
    text += " that are paid for and that nobody could be given."
    return Section(key="load", title="Allocation", text=text, plots=tuple(plots))


def _fragments(experiment: Experiment) -> Section:
    lines = _over_load(experiment, "fragmentation")
    plots = []
    if lines:
        x = linear(ARRIVED, 0, max(float(line.x[-1]) for line in lines), whole=False)
        y = linear("fragments in idle GPU (%)", 0, 100, ticks=5)
        title = "Fragmentation against arrived load"
        text = "Lower is better while there is room; when the cluster is full, what is left is fragments under any"
        plots.append(_plot(experiment, "fragmentation", title, f"{text} policy.", x, y, lines))
    text = "Idle GPU that a typical pod of this trace cannot use: too small a share, the wrong model, or no CPU left"
    text += " beside it."
    return Section(key="fragments", title="Fragmentation", text=text, plots=tuple(plots))


def _power(experiment: Experiment) -> Section:
    lines = _over_load(experiment, "power")
    plots = []
    if lines:
        x = linear(ARRIVED, 0, max(float(line.x[-1]) for line in lines), whole=False)
        y = linear("power (kW)", *_range(lines), ticks=5)
        plots.append(_plot(experiment, "power", "Power against arrived load", "Lower is better.", x, y, lines))
    text = "What GPUs and CPUs draw, by the power model of PWR (CCGrid'25)."
    return Section(key="power", title="Power", text=text, plots=tuple(plots))


def _times(experiment: Experiment) -> Section:
    plots = []
    for name, title, axis in (
        ("wait_s", "Time in the queue", "wait before the first start (log scale)"),
        ("jct_s", "Job completion time", "submission to end (log scale)"),
    ):
        tried = [distribution(policy, samples, floor=FLOOR) for policy, samples in _samples(experiment, name)]
        found = [line for line in tried if line]
        if found:
            x = log_time(axis, FLOOR, max(float(line.x[-1]) for line in found))
            y = linear("jobs (%)", 0, 100, ticks=5)
            text = "Share of jobs at or below a time: further left and higher is better."
            text += " What waits less than a second is drawn at one second." if name == "wait_s" else ""
            plots.append(_plot(experiment, name.removesuffix("_s"), title, text, x, y, found))
    text = (
        "The whole distribution, because means hide who waits: a policy may look good by letting a few wait for ever."
    )
    return Section(key="times", title="Waiting and completion", text=text, plots=tuple(plots))


def _course(experiment: Experiment) -> Section:
    end = _end(experiment)
    divisor, unit = time_unit(end)
    plots = []
    for name, title, axis, text in (
        ("utilisation", "Utilisation over time", "GPUs busy (%)", "GPUs that jobs hold, mean over each interval."),
        ("waiting", "Waiting over time", "groups waiting", "Groups that wait, mean over each interval."),
    ):
        tried = [over_time(policy, curves, end=end) for policy, curves in _curves(experiment, name)]
        lines = [line for line in tried if line]
        if lines:
            lines = [replace(line, x=line.x / divisor) for line in lines]
            top = 100.0 if name == "utilisation" else max(float(line.y.max()) for line in lines)
            x = linear(f"time ({unit})", 0, end / divisor, whole=False)
            plots.append(_plot(experiment, name, title, text, x, linear(axis, 0, top, ticks=5), lines))
    text = "The course of the run, from the first submission to the end of the last job of the slowest policy."
    return Section(key="course", title="Over time", text=text, plots=tuple(plots))


def _queues(experiment: Experiment) -> Section:
    end = _end(experiment)
    divisor, unit = time_unit(end)
    first = {policy: experiment.of(policy)[0] for policy in experiment.policies}
    names = _largest([run for run in first.values() if run.queue_share])
    plots = []
    for index, (policy, run) in enumerate(first.items()):
        lines = list(_shares(run, names, end))
        if lines:
            lines = [replace(line, x=line.x / divisor) for line in lines]
            plots.append(
                Plot(
                    key=f"queues-{index}",
                    title=f"Share by queue under {policy}",
                    text=f"GPUs that each queue holds, stacked; seed {run.seed}.",
                    x=linear(f"time ({unit})", 0, end / divisor, whole=False),
                    y=linear("GPUs (%)", 0, 100, ticks=5),
                    lines=tuple(lines),
                    numbers=tuple(range(len(lines))),
                    stacked=True,
                )
            )
    text = "Who holds the GPUs. Queues that are entitled to the same should get the same while they ask for it."
    return Section(key="queues", title="Share by queue", text=text, plots=tuple(plots))


def _largest(runs: Sequence[Run]) -> list[str]:
    """Queue names by what they hold over time, so that the same queue has the same colour under every policy."""
    totals: dict[str, float] = {}
    for run in runs:
        for name, curve in run.queue_share.items():
            held = float(np.dot(np.diff(curve.x), curve.y[:-1])) if len(curve.x) > 1 else 0.0
            totals[name] = totals.get(name, 0.0) + held
    return sorted(totals, key=lambda name: (-totals[name], name))


def _shares(run: Run, names: Sequence[str], end: float) -> Iterator[Line]:
    lines = [over_time(name, [run.queue_share.get(name, Curve((), ()))], end=end) for name in names]
    known = [line for line in lines if line]
    few = known if len(known) <= QUEUES + 1 else known[:QUEUES]
    yield from few
    rest = known[len(few) :]
    if rest:
        y = np.sum([line.y for line in rest], axis=0)
        yield Line(label=f"{len(rest)} others", x=rest[0].x, y=y, spread=np.zeros(len(y)))


def _end(experiment: Experiment) -> float:
    """When the last run ends."""
    lines = [curve for run in experiment.runs for curve in (*run.queue_share.values(), *_timed(run))]
    return max((curve.x[-1] for curve in lines if curve.x), default=0.0)


def _timed(run: Run) -> Iterable[Curve]:
    return (run.curves[name] for name in ("utilisation", "waiting") if name in run.curves)


def _over_load(experiment: Experiment, name: str) -> list[Line]:
    found = [over_load(policy, curves) for policy, curves in _curves(experiment, name)]
    return [line for line in found if line]


def _curves(experiment: Experiment, name: str) -> list[tuple[str, list[Curve]]]:
    """Each policy's curves of that name, one a seed."""
    return [
        (policy, [run.curves[name] for run in experiment.of(policy) if name in run.curves])
        for policy in experiment.policies
    ]


def _samples(experiment: Experiment, name: str) -> list[tuple[str, list[tuple[float, ...]]]]:
    """Each policy's samples of that name, one tuple a seed."""
    return [
        (policy, [run.samples[name] for run in experiment.of(policy) if name in run.samples])
        for policy in experiment.policies
    ]


def _plot(  # noqa: PLR0917  # as a plot is read: what, then axes, then lines
    experiment: Experiment, key: str, title: str, text: str, x: Axis, y: Axis, lines: Sequence[Line]
) -> Plot:
    """A plot of policies; a policy's number is its place among all of them, so that it looks alike in every plot."""
    numbers = tuple(experiment.policies.index(line.label) for line in lines)
    return Plot(key=key, title=title, text=text, x=x, y=y, lines=tuple(lines), numbers=numbers)


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    """The values of all lines with their spread."""
    return (
        min(float((line.y - line.spread).min()) for line in lines),
        max(float((line.y + line.spread).max()) for line in lines),
    )


def _from(line: Line, low: float) -> Line:
    """The part of a line from x = `low` on."""
    kept = line.x >= low
    return Line(label=line.label, x=line.x[kept], y=line.y[kept], spread=line.spread[kept])
