"""Jobs that arrive, run for a known time and leave: the common form of all job traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from quartermaster.model.errors import InvalidInput
from quartermaster.model.podgroup import DEFAULT_PRIORITY
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule

DEFAULT_QUEUE = "default"
"""The queue of jobs whose trace knows no queues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job; times in seconds of the trace's clock.

    `duration` is the time it computes, on its GPUs and uninterrupted; `overhead` is paid on top, by the trace's rule.
    `iterations` times `iteration_s` is the same time in the trace's own grain: simulators that count iterations
    multiply in that order, and exact reproduction has to. `priority` counts where jobs preempt by it. `deadline` is
    absolute. `model` is what is trained, where the trace says so. `pace`, where speed depends on placement, gives the
    seconds of an iteration on so many GPUs of each node; `iteration_s` is then that of the fewest nodes.
    """

    name: str
    queue: str
    submit: float
    gpus: int
    duration: float
    overhead: float = 0.0
    priority: int = DEFAULT_PRIORITY
    deadline: float | None = None
    owner: str = ""
    model: str = ""
    iterations: float
    iteration_s: float
    pace: Callable[[Sequence[int]], float] | None = None

    @property
    def gpu_seconds(self) -> float:
        """GPU time of the computation, without overhead."""
        return self.gpus * self.duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Discretised least attained service, as the trace's simulator has it (Tiresias, NSDI'19).

    A job falls to the next level when it has attained so many GPU-seconds (`limits`); new ones go to the end. With
    `waiting_last`, those of a level that wait go behind those that run, at each decision.
    """

    limits: tuple[float, ...]
    waiting_last: bool


MURI_LEVELS = Levels(limits=(3250.0, 7200.0), waiting_last=True)
"""As Muri's simulator sets them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTrace:
    """Jobs by submission (ties in file order), and the cluster to run them on.

    Decisions are taken at multiples of `interval` seconds, or with 0 whenever something happens.
    """

    name: str
    jobs: tuple[Job, ...]
    cluster: ClusterShape
    overhead_rule: OverheadRule = OverheadRule.PER_START
    interval: float = 0.0
    levels: Levels = MURI_LEVELS

    @property
    def gpu_hours(self) -> float:
        """GPU time of all jobs, in hours."""
        return sum(job.gpu_seconds for job in self.jobs) / 3600


def job_trace(
    *,
    name: str,
    jobs: Iterable[Job],
    cluster: ClusterShape,
    overhead_rule: OverheadRule = OverheadRule.PER_START,
    interval: float = 0.0,
    levels: Levels = MURI_LEVELS,
) -> JobTrace:
    """The trace of these jobs, sorted. A job that the whole cluster could not hold would wait for ever: refused."""
    ordered = tuple(sorted(jobs, key=lambda job: job.submit))
    largest = max(ordered, key=lambda job: job.gpus)
    if largest.gpus > cluster.gpus:
        need = -(-largest.gpus // cluster.gpus_per_node)
        raise InvalidInput(
            f"trace '{name}': cluster",
            f"job '{largest.name}' asks for {largest.gpus} GPUs, {cluster} has {cluster.gpus}",
            f"give {need}x{cluster.gpus_per_node} or more",
        )
    return JobTrace(
        name=name, jobs=ordered, cluster=cluster, overhead_rule=overhead_rule, interval=interval, levels=levels
    )
