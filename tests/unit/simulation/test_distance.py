"""Racks: how much slower a job is across them, that placement policies keep it in one, and what is refused."""

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.scheduling.locality import FABRIC_RATIO, NETWORK_RATIO, Tier, Traffic
from quartermaster.simulation.distance import Distance, Locality
from quartermaster.simulation.jobs import simulate_jobs
from quartermaster.simulation.simulate import load
from quartermaster.simulation.traces.cluster import ClusterShape
from quartermaster.simulation.traces.jobs import Job, JobTrace, job_trace
from quartermaster.simulation.traces.source import TraceSource

SHAPE = ClusterShape(nodes=4, gpus_per_node=4)
LOCALITY = Locality(traffic=Traffic(fabric=0.1, network=0.3), rack=2)
ACROSS = (1 + 0.1 * (FABRIC_RATIO[Tier.CORE] - 1) + 0.3 * (NETWORK_RATIO[Tier.CORE] - 1)) / (
    1 + 0.1 * (FABRIC_RATIO[Tier.LEAF] - 1)
)


def trace(*rows: tuple[float, int, float]) -> JobTrace:
    jobs = (
        Job(name=f"j{n}", queue="q", submit=submit, gpus=gpus, duration=time, iterations=time, iteration_s=1.0)
        for n, (submit, gpus, time) in enumerate(rows)
    )
    return job_trace(name="few", cluster=SHAPE, jobs=jobs)


@pytest.mark.parametrize(
    ("rows", "gpus", "slower"),
    [
        ([3], 4, 1.0),
        ([0, 1], 8, 1.0),  # Two nodes are the best that eight GPUs can have.
        ([1, 2], 8, ACROSS),
        ([0, 1, 2, 3], 16, 1.0),  # No rack holds it.
        ([0, 1], 4, 1 + 0.1 * (FABRIC_RATIO[Tier.LEAF] - 1)),  # One node would have done.
    ],
)
def test_slowdown_against_the_best_place(rows: list[int], gpus: int, slower: float) -> None:
    assert Distance(SHAPE, LOCALITY).slowdown(rows, gpus=gpus) == pytest.approx(slower)


def test_first_fit_crosses_racks_and_a_job_that_likes_one_does_not() -> None:
    jobs = trace((0, 4, 500), (1, 8, 100))  # Job 0 has the first node.
    fifo = simulate_jobs(jobs, policy="fifo", seed=1, locality=LOCALITY)
    ours = simulate_jobs(jobs, policy="quartermaster", seed=1, locality=LOCALITY)
    assert fifo.samples["jct_s"] == pytest.approx((100 * ACROSS, 500))
    assert ours.samples["jct_s"] == (100, 500)


def test_pooled_jobs_are_slower_on_the_nodes_they_are_taken_from() -> None:
    jobs = trace((0, 3, 500), (0, 3, 500), (0, 3, 500), (0, 3, 500), (1, 4, 100))  # One GPU is left of each node.
    run = simulate_jobs(jobs, policy="tiresias", seed=1, locality=LOCALITY)
    slower = Distance(SHAPE, LOCALITY).slowdown([0, 1, 2, 3], gpus=4)
    assert run.samples["jct_s"][0] == pytest.approx(100 * slower)


def test_without_traffic_or_on_one_node_nothing_changes() -> None:
    jobs = trace((0, 4, 50), (1, 8, 100), (2, 16, 20), (3, 1, 7))
    still = Locality(traffic=Traffic(), rack=2)
    for policy in ("fifo", "srtf", "tiresias"):
        plain = simulate_jobs(jobs, policy=policy, seed=1)
        assert simulate_jobs(jobs, policy=policy, seed=1, locality=still).samples == plain.samples


@pytest.mark.parametrize("text", ["0.1", "0.1:x", "0.1:0.2:0.3", "0.7:0.7", "-0.1:0"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        Locality.parse(text)


def test_measured_speeds_are_not_slowed_again() -> None:
    measured = load(TraceSource(name="philly-pollux/0.5-1"))
    assert isinstance(measured, JobTrace)
    with pytest.raises(InvalidInput, match="measured speeds by placement"):
        simulate_jobs(measured, policy="fifo", seed=1, locality=LOCALITY)
