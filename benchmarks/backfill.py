"""What backfill gains: first come first with nobody passing, with everybody who fits passing, and with backfill."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure
from quartermaster.simulation.results import Task
from quartermaster.simulation.simulate import simulate
from quartermaster.simulation.traces.source import TraceSource

TRACES = ("trace1", "trace3")
UNITS = {"average_jct_s": "s", "p99_jct_s": "s", "largest_wait_s": "s", "gpu_utilisation_percent": "%"}


def figures() -> Iterator[Figure]:
    """Average and p99 JCT, the longest wait, and utilisation, per trace and policy."""
    for trace in TRACES:
        for policy in ("fifo-strict", "fifo", "backfill"):
            run = simulate(Task(source=TraceSource(name=f"philly-muri/{trace}"), policy=policy, seed=1))
            metrics = {**run.metrics, "largest_wait_s": max(run.samples["wait_s"])}
            for metric, unit in UNITS.items():
                yield Figure(name=f"backfill/{trace}/{policy}/{metric}", value=metrics[metric], unit=unit)
