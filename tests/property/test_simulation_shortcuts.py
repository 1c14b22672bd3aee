"""What the simulation leaves out changes nothing: it gives what offering every job to every cycle gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.model.podgroup import DEFAULT_PRIORITY
from quartermaster.simulation.jobs import JobSimulation
from quartermaster.simulation.progress import Progress
from quartermaster.simulation.results import Run
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.jobs import Job, JobTrace, job_trace

POLICIES = ("fifo", "sjf", "srtf", "srsf", "tiresias", "best-fit", "spread", "quartermaster")
MAKING_ROOM = ("quartermaster+preempt", "bin-pack+preempt", "quartermaster+preempt+backfill")


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
    job = st.tuples(
        st.integers(0, 60),
        st.sampled_from(sizes),
        st.integers(1, 40),
        st.sampled_from("abc"),
        st.sampled_from((0, 0, 0, 1)),
    )
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
                priority=DEFAULT_PRIORITY + more,
                iterations=1.0 * duration,
                iteration_s=1.0,
            )
            for index, (submit, gpus, duration, queue, more) in enumerate(rows)
        ),
    )


def _run(kind: type[JobSimulation], trace: JobTrace, policy: str) -> Run:
    simulation = kind(trace, policy=policy, seed=1, overhead=trace.overhead_rule)
    return simulation.report(simulation.run(), policy=policy, seed=1)


@given(traces(), st.sampled_from(POLICIES))
@settings(deadline=None)
def test_leaving_out_those_that_cannot_start_changes_nothing(trace: JobTrace, policy: str) -> None:
    assert _run(JobSimulation, trace, policy) == _run(_Everything, trace, policy)


class _Insistent(JobSimulation):
    """Has every cycle look for victims, whether that could help or not."""

    def _offer(self) -> list[Progress]:
        self._worth_it = True
        return self._line.first(self._room)


@given(traces(), st.sampled_from(MAKING_ROOM[:2]))
@settings(deadline=None, max_examples=40)
def test_victims_are_looked_for_wherever_it_helps(trace: JobTrace, policy: str) -> None:
    assert _run(JobSimulation, trace, policy) == _run(_Insistent, trace, policy)


class _Counted(JobSimulation):
    """Counts cycles at an instant, and checks what the nodes hold after each against what the jobs hold."""

    most = 0

    def _decide(self, now: float) -> None:
        self.cycles = 0
        super()._decide(now)
        self.most = max(self.most, self.cycles)

    def _cycle(self, offered: list[Progress], now: float) -> tuple[list[Progress], bool]:
        self.cycles += 1
        done = super()._cycle(offered, now)
        held = {pod.name for progress in self._running for pod in progress.group.pods}
        assert held == set(self._state.pods), "a gang is there as a whole or not at all"
        assert sum(progress.job.gpus for progress in self._running) == self._room.total - self._room.free
        return done


@given(traces(), st.sampled_from(MAKING_ROOM))
@settings(deadline=None, max_examples=40)
def test_making_room_ends_and_loses_no_work(trace: JobTrace, policy: str) -> None:
    simulation = _Counted(trace, policy=policy, seed=1, overhead=trace.overhead_rule)
    ends = simulation.run()
    assert len(ends) == len(trace.jobs)
    assert simulation.most <= 8, "cycles at one instant: evictions raise a potential, so they soon end"
    for progress in simulation._all:
        job = progress.job
        assert progress.starts <= 2 * len(trace.jobs), "an instant is an arrival or an end"
        if trace.overhead_rule is OverheadRule.PER_START:
            paid = progress.starts * job.overhead
            least, most = job.duration + job.overhead, job.duration + paid
            assert least - 1e-6 <= progress.attained <= most + 1e-6, "it computed once, and paid for each start at most"
