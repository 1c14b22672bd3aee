"""The terminal table: policies by metrics, mean ± standard deviation, the best marked.

The mark is a star and not a colour alone. Where the terminal is too narrow for all metrics side by side, each metric
gets a table of its own: a table whose cells wrap cannot be read down a column.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from quartermaster.simulation.report.ranking import Cell, Grid, grid
from quartermaster.simulation.results import Experiment

WIDE = 10_000
"""Width of what is not a terminal: a file or pipe has no edge to wrap at."""


def render(experiment: Experiment, *, width: int = WIDE, colour: bool = False) -> str:
    """The table as text, with its title above and what the marks mean below."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(width, 24),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    console.print(Text(_title(experiment), style="bold"))
    cells = grid(experiment)
    if not cells.metrics:
        console.print("No metric has a value: the runs end before the first point at which one is read.")
    for table in _tables(cells, console):
        console.print(table)
    for note in _notes(experiment, cells):
        console.print(Text(note, style="dim"))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _title(experiment: Experiment) -> str:
    seeds = experiment.seeds
    count = f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{experiment.trace}: {experiment.nodes:,} nodes, {experiment.gpus:,} GPUs; {count}"


def _tables(cells: Grid, console: Console) -> list[Table]:
    columns = range(len(cells.metrics))
    whole = _table(cells, columns)
    if Measurement.get(console, console.options.update(width=WIDE), whole).maximum <= console.width:
        return [whole] if cells.metrics else []
    return [_table(cells, [column]) for column in columns]


def _table(cells: Grid, columns: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("policy", no_wrap=True)
    for column in columns:
        metric = cells.metrics[column]
        heading = Text(f"{metric.title}\n({metric.unit})" if metric.unit else metric.title, justify="right")
        table.add_column(heading, justify="right", no_wrap=len(columns) > 1)
    for policy, row in cells.rows:
        table.add_row(policy, *(_text(row[column]) for column in columns))
    return table


def _text(cell: Cell | None) -> Text:
    """Every cell ends in the star's column, so that digits stay below digits."""
    if cell is None:
        return Text("-  ")
    value = f"{cell.mean} ± {cell.sd}" if cell.sd else cell.mean
    return Text(f"{value} *", style="bold green") if cell.best else Text(f"{value}  ")


def _notes(experiment: Experiment, cells: Grid) -> list[str]:
    notes = []
    if any(cell and cell.best for _, row in cells.rows for cell in row):
        notes.append("* best")
    if any(cell and cell.sd for _, row in cells.rows for cell in row):
        notes.append("± sample standard deviation over seeds")
    line = ["; ".join(notes)] if notes else []
    return line + [f"{policy}: {note}" for policy, note in _remarks(experiment)]


def _remarks(experiment: Experiment) -> list[tuple[str, str]]:
    """The notes of the runs, where there is one seed: with several they would be a page."""
    if len(experiment.seeds) > 1:
        return []
    return [(run.policy, run.note) for run in experiment.runs if run.note]
