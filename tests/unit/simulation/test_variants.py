"""Jobs that make room, and jobs that backfill, on traces small enough to follow by hand."""

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.model.podgroup import DEFAULT_PRIORITY
from quartermaster.simulation.jobs import simulate_jobs
from quartermaster.simulation.results import Run
from quartermaster.simulation.traces.cluster import ClusterShape
from quartermaster.simulation.traces.jobs import Job, JobTrace, job_trace
from quartermaster.simulation.variants import variant


def job(name: str, submit: float, gpus: int, duration: float, *, queue: str = "a", more: int = 0) -> Job:
    return Job(
        name=name,
        queue=queue,
        submit=submit,
        gpus=gpus,
        duration=duration,
        overhead=5.0,
        priority=DEFAULT_PRIORITY + more,
        iterations=duration,
        iteration_s=1.0,
    )


def trace(*jobs: Job, nodes: int = 1) -> JobTrace:
    return job_trace(name="few", cluster=ClusterShape(nodes=nodes, gpus_per_node=4), jobs=jobs)


def run(trace: JobTrace, policy: str) -> tuple[tuple[float, ...], Run]:
    outcome = simulate_jobs(trace, policy=policy, seed=1)
    return outcome.samples["jct_s"], outcome


TWO_QUEUES = trace(*(job(f"a{n}", 0, 1, 100) for n in range(4)), job("b", 10, 2, 50, queue="b"))


def test_a_queue_reclaims_what_it_deserves_and_its_victims_keep_their_work() -> None:
    alone, before = run(TWO_QUEUES, "quartermaster")
    assert list(alone) == [105, 105, 105, 105, 150]
    shared, after = run(TWO_QUEUES, "quartermaster+preempt")
    # b runs from 10 to 65. Two of a stop at 10, with 5 s of work done; they go on at 65, pay 5 s again, and have 95 s
    # to go.
    assert list(shared) == [55, 105, 105, 165, 165]
    assert after.note == "5 jobs, 2 restarts"
    assert after.metrics["queue_fairness_jain"] > before.metrics["queue_fairness_jain"]


def test_a_higher_priority_preempts_in_its_queue_and_only_where_asked_to() -> None:
    jobs = trace(job("low", 0, 4, 100), job("high", 20, 4, 30, more=1))
    assert run(jobs, "quartermaster")[0] == (105, 120)
    assert run(jobs, "quartermaster+preempt")[0] == (35, 145)  # low: 20 s, 15 of them work; again from 55, 5 + 85.


def test_jobs_move_together_so_that_a_large_one_fits() -> None:
    small = [job(f"s{n}", 0, 2, 10 if n % 2 else 100) for n in range(4)]  # By bin-packing s0, s1 | s2, s3.
    jobs = trace(*small, job("large", 50, 4, 20), nodes=2)
    assert run(jobs, "bin-pack")[0] == (15, 15, 80, 105, 105)
    _, outcome = run(jobs, "bin-pack+preempt")
    assert sorted(outcome.samples["jct_s"]) == [15, 15, 25, 105, 110]  # One moved, and started again.
    assert outcome.note == "5 jobs, 1 restarts"


def test_backfill_passes_only_where_it_delays_nobody() -> None:
    jobs = trace(job("first", 0, 2, 100), job("large", 1, 4, 10), job("short", 2, 2, 50), job("long", 3, 2, 150))
    # Without: long takes the room of short, at 57, and large waits for it.
    assert run(jobs, "first-fit")[0] == (55, 105, 209, 226)
    assert run(jobs, "first-fit+backfill")[0] == (
        55,
        105,
        119,
        272,
    )  # short passes, long does not: large starts at 105.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quartermaster+fast", r"there is no '\+fast'"),
        ("quartermaster+preempt+preempt", "twice"),
        ("srtf+preempt", "rules on who passes"),
        ("quatermaster+preempt", "there is no 'quatermaster'"),
    ],
)
def test_what_does_not_go_together(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        variant(name)
