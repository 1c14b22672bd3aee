"""Three ways to wait, on a trace small enough to follow by hand; and the scenario that shows it."""

import pytest

from quartermaster.simulation.jobs import simulate_jobs
from quartermaster.simulation.traces.cluster import ClusterShape
from quartermaster.simulation.traces.jobs import Job, JobTrace, job_trace


def trace() -> JobTrace:
    rows = [(4, 100.0), (8, 10.0), (4, 150.0), (4, 200.0), (4, 50.0)]
    return job_trace(
        name="five",
        cluster=ClusterShape(nodes=2, gpus_per_node=4),
        jobs=[
            Job(
                name=f"job-{n}",
                queue="default",
                submit=float(n),
                gpus=gpus,
                duration=duration,
                iterations=duration,
                iteration_s=1.0,
            )
            for n, (gpus, duration) in enumerate(rows)
        ],
    )


@pytest.mark.parametrize(
    ("policy", "jct"),
    [
        ("fifo-strict", [100, 109, 258, 307, 306]),  # Job 1 needs everything, and everybody waits for it.
        ("fifo", [100, 309, 150, 297, 198]),  # Jobs 2, 3 and 4 pass, and job 1 starts last.
        ("backfill", [100, 109, 258, 307, 50]),  # Job 4 passes: it ends before job 1 can start.
    ],
)
def test_who_passes_whom(policy: str, jct: list[float]) -> None:
    assert simulate_jobs(trace(), policy=policy, seed=1).samples["jct_s"] == tuple(sorted(jct))
