"""One HTML page with everything in it: no network, no fonts of its own, no script that it needs.

It opens from a disk, prints, follows the reader's dark or light setting, and can be mailed to someone who has nothing
installed. The template, the style and the small script that reads values off the plots are files beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from quartermaster.simulation.report.axis import duration
from quartermaster.simulation.report.metrics import Metric
from quartermaster.simulation.report.plots import sections
from quartermaster.simulation.report.ranking import Cell, Grid, grid
from quartermaster.simulation.report.svg import Plot, style
from quartermaster.simulation.results import Experiment

ROWS: Final = 12
"""Rows of the table that says a plot's values in numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One number that matters: whose it is, how it compares, and what it means."""

    title: str
    value: str
    who: str
    against: str
    meaning: str


def render(experiment: Experiment) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    cells = grid(experiment)
    found = sections(experiment)
    plots = [plot for section in found for plot in section.plots]
    values = {plot.key: _values(plot) for plot in plots}
    page = environment.get_template("page.html.j2").render(
        experiment=experiment,
        made=experiment.made,
        took=duration(experiment.made.seconds),
        cells=cells,
        headlines=headlines(cells),
        sections=found,
        remarks=_remarks(experiment),
        style=style,
        svg=lambda plot: Markup(plot.svg()),  # noqa: S704  # made by us, its texts are escaped there
        numbers=_numbers,
        css=Markup(_part("page.css")),  # noqa: S704
        script=Markup(_part("page.js")),  # noqa: S704
        values=Markup(json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")),  # noqa: S704
    )
    return page.strip() + "\n"


def headlines(cells: Grid) -> list[Headline]:
    """For each metric with a direction the best policy, and how far the next one is behind."""
    found = []
    for column, metric in enumerate(cells.metrics):
        values = [(policy, row[column]) for policy, row in cells.rows]
        known = [(policy, cell) for policy, cell in values if cell is not None]
        if metric.better and known:
            found.append(_headline(metric, known))
    return found


def _headline(metric: Metric, known: Sequence[tuple[str, Cell]]) -> Headline:
    ranked = sorted(known, key=lambda item: item[1].value, reverse=metric.better == "higher")
    policy, best = ranked[0]
    equal = [name for name, cell in ranked if cell.mean == best.mean]
    against = ""
    if len(ranked) > len(equal):
        other, next_best = ranked[len(equal)]
        against = f"{_gap(metric, best.value, next_best.value)} {other}"
    elif len(ranked) > 1:
        against = "no difference between the policies"
    value = duration(best.value) if metric.unit == "s" else f"{best.mean} {metric.unit}"
    who = policy if len(equal) == 1 else f"{policy} and {len(equal) - 1} more"
    return Headline(title=metric.title, value=value, who=who, against=against, meaning=metric.meaning)


def _gap(metric: Metric, best: float, other: float) -> str:
    if metric.unit == "%":
        return f"{abs(best - other):.2f} points {'above' if metric.better == 'higher' else 'below'}"
    if other:
        return f"{abs(1 - best / other) * 100:.1f} % {'more' if metric.better == 'higher' else 'less'} than"
    return "ahead of"


def _values(plot: Plot) -> dict[str, Any]:
    """What the script needs to read values off a plot: the frame in SVG units, the axes, the lines."""
    return {
        "x": [plot.x.low, plot.x.high, int(plot.x.log)],
        "unit": plot.x.title,
        "lines": [
            [number, [_short(value) for value in line.x.tolist()], [_short(value) for value in line.y.tolist()]]
            for number, line in zip(plot.numbers, plot.lines, strict=True)
        ],
    }


def _short(value: float) -> float:
    """Four digits: what can be read off a plot, and a third of the page's size."""
    return float(f"{value:.4g}")


def _numbers(plot: Plot) -> list[tuple[str, list[str]]]:
    """A plot's values as rows of a table: some x, and every line's y there."""
    low, high = plot.x.low, plot.x.high
    rows = []
    for index in range(ROWS):
        share = index / (ROWS - 1)
        x = low * (high / low) ** share if plot.x.log else low + (high - low) * share
        rows.append((duration(x) if plot.x.log else f"{x:.4g}", [_read(line.x, line.y, x) for line in plot.lines]))
    return rows


def _read(xs: Any, ys: Any, x: float) -> str:
    """The value at the nearest point; a line has none beyond its ends."""
    inside = [index for index in range(len(xs)) if xs[index] <= x]
    if not inside:
        return f"{float(ys[0]):.4g}" if abs(float(xs[0]) - x) < 1 else ""
    return f"{float(ys[inside[-1]]):.4g}"


def _remarks(experiment: Experiment) -> list[tuple[str, int, str]]:
    return [(run.policy, run.seed, run.note) for run in experiment.runs if run.note]


def _part(name: str) -> str:
    return files("quartermaster.simulation.report").joinpath(name).read_text(encoding="utf-8")
