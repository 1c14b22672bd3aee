"""The Muri digits: seconds that our simulator is away from the published numbers (0.001 is their last digit)."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure
from quartermaster.simulation.results import Task
from quartermaster.simulation.simulate import simulate
from quartermaster.simulation.traces.recorded import published_muri
from quartermaster.simulation.traces.source import TraceSource

NAMES = {"SRTF": "srtf", "SRSF": "srsf", "Tiresias_L": "tiresias"}


def figures() -> Iterator[Figure]:
    """Average JCT, makespan and p99 JCT of three policies on two traces."""
    for published in published_muri():
        policy = NAMES.get(published.policy)
        if policy is None or published.trace not in {"trace1", "trace3"}:
            continue
        run = simulate(Task(source=TraceSource(name=f"philly-muri/{published.trace}"), policy=policy, seed=42))
        for metric, known in (
            ("average_jct_s", published.average_jct),
            ("makespan_s", published.makespan),
            ("p99_jct_s", published.p99_jct),
        ):
            name = f"muri/{published.trace}/{policy}/{metric}-off-published"
            yield Figure(name=name, value=abs(run.metrics[metric] - known), unit="s", target=0.001)
