"""The summary as a grid of policies by metrics, with the best of each metric: what both tables show."""

from __future__ import annotations

from dataclasses import dataclass

from quartermaster.simulation.report.metrics import Metric, describe
from quartermaster.simulation.results import Experiment, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A metric of a policy. Policies whose values read the same are best together: no winner by a hidden digit."""

    mean: str
    sd: str
    best: bool
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Metrics as columns; a row for each policy, with None where it has no value."""

    metrics: tuple[Metric, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]

    def best(self, column: int) -> list[tuple[str, Cell]]:
        """The policies that are best in a column: none where nothing is better or only one policy ran."""
        cells = [(policy, row[column]) for policy, row in self.rows]
        return [(policy, cell) for policy, cell in cells if cell is not None and cell.best]


def grid(experiment: Experiment) -> Grid:
    """The grid of an experiment."""
    metrics = tuple(describe(name) for name in experiment.metrics)
    values = {(row.policy, row.metric): row for row in experiment.summary()}
    columns = [_column(metric, values, experiment.policies) for metric in metrics]
    rows = tuple(
        (policy, tuple(column[index] for column in columns)) for index, policy in enumerate(experiment.policies)
    )
    return Grid(metrics=metrics, rows=rows)


def _column(metric: Metric, values: dict[tuple[str, str], Summary], policies: list[str]) -> list[Cell | None]:
    found = [values.get((policy, metric.name)) for policy in policies]
    means = [row.mean for row in found if row is not None]
    ranked = metric.better and len(means) > 1
    top = metric.text(max(means) if metric.better == "higher" else min(means)) if ranked else None
    return [None if row is None else _cell(metric, row, top) for row in found]


def _cell(metric: Metric, row: Summary, top: str | None) -> Cell:
    mean = metric.text(row.mean)
    return Cell(mean=mean, sd=metric.text(row.std) if row.n > 1 else "", best=mean == top, value=row.mean)
