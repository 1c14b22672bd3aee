"""Our default policy beside FIFO, SRTF and Tiresias: average and p99 JCT, utilisation, fairness.

SRTF knows every job's run time, which nobody has, and stops jobs at will, as Tiresias does: they are bounds to be read
beside, not rivals on equal terms. What there is of several queues is long, so its first jobs are taken; that trace
records no start-up time, so each start is charged what Pollux charges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from benchmarks.figures import Figure
from quartermaster.simulation.jobs import simulate_jobs
from quartermaster.simulation.simulate import load
from quartermaster.simulation.traces.jobs import JobTrace
from quartermaster.simulation.traces.pollux import RESTART
from quartermaster.simulation.traces.source import TraceSource

ONE_QUEUE: Final = (
    "philly-muri/trace1",
    "philly-muri/trace3",
    *(f"philly-pollux/1.0-{workload}" for workload in (1, 3, 5, 6)),
)
OTHERS: Final = ("fifo", "srtf", "tiresias")
OURS: Final = ("quartermaster", "quartermaster+backfill")
SEVERAL_QUEUES: Final = "philly/all"
FIRST: Final = 5000
"""Jobs of the trace with several queues that are run."""

UNITS: Final = {
    "average_jct_s": "s",
    "p99_jct_s": "s",
    "gpu_utilisation_percent": "%",
    "fairness_jain": "",
    "queue_fairness_jain": "",
}


def figures() -> Iterator[Figure]:
    """Traces of one queue, then the one of several, where ours also reclaims; and how often jobs were started again."""
    for name in ONE_QUEUE:
        yield from _of(_trace(name), (*OURS, *OTHERS))
    several = _trace(SEVERAL_QUEUES)
    jobs = tuple(replace(job, overhead=RESTART) for job in several.jobs[:FIRST])
    cut = replace(several, name=f"{several.name}[:{FIRST}]", jobs=jobs)
    yield from _of(cut, (*OURS, "quartermaster+preempt", "quartermaster+preempt+backfill", *OTHERS))


def _trace(name: str) -> JobTrace:
    trace = load(TraceSource(name=name))
    assert isinstance(trace, JobTrace), "all of these are traces of jobs"
    return trace


def _of(trace: JobTrace, policies: tuple[str, ...]) -> Iterator[Figure]:
    for policy in policies:
        run = simulate_jobs(trace, policy=policy, seed=1)
        for metric, unit in UNITS.items():
            if metric in run.metrics:
                yield Figure(name=f"compare/{trace.name}/{policy}/{metric}", value=run.metrics[metric], unit=unit)
