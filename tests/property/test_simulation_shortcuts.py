"""What the simulation leaves out changes nothing: it gives what offering every job to every cycle gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.simulation.jobs import JobSimulation
from quartermaster.simulation.progress import Progress
from quartermaster.simulation.results import Run
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.jobs import Job, JobTrace, job_trace

POLICIES = ("fifo", "sjf", "srtf", "srsf", "tiresias", "best-fit", "spread", "quartermaster")


class _Everything(JobSimulation):
    """The simulation without its shortcuts."""

    def _offer(self) -> list[Progress]:
        waiting = [progress for progress in self._all if progress in self._waits]
        return self._running + waiting if self._policies.replan else waiting

    @property
    def _waits(self) -> set[Progress]:
        lines = self._line._lines.values()
        return {progress for line in lines for progress in line}


@st.composite
def traces(draw: st.DrawFn) -> JobTrace:
    """Few nodes, many jobs, and small whole numbers, so that there are ties."""
    cluster = ClusterShape(nodes=draw(st.integers(2, 4)), gpus_per_node=draw(st.sampled_from((1, 3, 4, 8))))
    sizes = [size for size in (1, 1, 1, 2, 3, 4, 8, 11, 16) if size <= cluster.gpus]
    job = st.tuples(st.integers(0, 60), st.sampled_from(sizes), st.integers(1, 40), st.sampled_from("abc"))
    rows = draw(st.lists(job, min_size=20, max_size=80))
    overhead = draw(st.sampled_from((0.0, 2.0)))
    return job_trace(
        name="drawn",
        cluster=cluster,
        overhead_rule=draw(st.sampled_from(OverheadRule)),
        jobs=(
            Job(
                name=f"job-{index}",
                queue=queue,
                submit=float(submit),
                gpus=gpus,
                duration=1.0 * duration,
                overhead=overhead,
                iterations=1.0 * duration,
                iteration_s=1.0,
            )
            for index, (submit, gpus, duration, queue) in enumerate(rows)
        ),
    )


def _run(kind: type[JobSimulation], trace: JobTrace, policy: str) -> Run:
    simulation = kind(trace, policy=policy, seed=1, overhead=trace.overhead_rule)
    return simulation.report(simulation.run(), policy=policy, seed=1)


@given(traces(), st.sampled_from(POLICIES))
@settings(deadline=None)
def test_leaving_out_those_that_cannot_start_changes_nothing(trace: JobTrace, policy: str) -> None:
    assert _run(JobSimulation, trace, policy) == _run(_Everything, trace, policy)
