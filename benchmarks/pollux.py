"""Tiresias on Pollux's workloads: average completion time, ours and how far it is from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure
from quartermaster.simulation.results import Task
from quartermaster.simulation.simulate import simulate
from quartermaster.simulation.traces.recorded import published_pollux
from quartermaster.simulation.traces.source import TraceSource

EXPERIMENT = "results-jobload/tiresias-"


def figures() -> Iterator[Figure]:
    """Ours and the recorded one in seconds, and the difference in % of the recorded one."""
    for (experiment, workload), recorded in published_pollux().items():
        if not experiment.startswith(EXPERIMENT):
            continue
        variant = f"{experiment.removeprefix(EXPERIMENT)}-{workload.removeprefix('workload-')}"
        run = simulate(Task(source=TraceSource(name=f"philly-pollux/{variant}"), policy="tiresias", seed=42))
        ours = run.metrics["average_jct_s"]
        yield Figure(name=f"pollux/{variant}/tiresias/average-jct", value=ours, unit="s")
        yield Figure(name=f"pollux/{variant}/tiresias/recorded", value=recorded, unit="s")
        off = abs(ours / recorded - 1) * 100
        yield Figure(name=f"pollux/{variant}/tiresias/off-recorded", value=off, unit="%", target=5)
