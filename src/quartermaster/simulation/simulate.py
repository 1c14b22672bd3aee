"""One run of any trace: which experiment a trace is made for, and which policies make sense on it."""

from __future__ import annotations

from functools import lru_cache

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.arrivals import simulate_arrivals
from quartermaster.simulation.jobs import simulate_jobs
from quartermaster.simulation.results import Run, Task
from quartermaster.simulation.traces.cluster import ClusterTrace
from quartermaster.simulation.traces.jobs import JobTrace
from quartermaster.simulation.traces.source import TraceSource
from quartermaster.simulation.variants import variant


@lru_cache(maxsize=2)
def load(source: TraceSource) -> ClusterTrace | JobTrace:
    """The trace; read once per process."""
    return source.load()


def default_policies(trace: ClusterTrace | JobTrace) -> list[str]:
    """What is compared when nobody says."""
    if isinstance(trace, JobTrace):
        return ["fifo", "sjf", "srtf", "srsf", "tiresias"]
    return ["quartermaster", "fgd", "best-fit"]


def check_policy(name: str, trace: ClusterTrace | JobTrace) -> None:
    """Raise `InvalidInput` if the policy is unknown or decides nothing on this kind of trace."""
    chosen = variant(name)
    if isinstance(trace, JobTrace):
        return
    if not chosen.plain:
        raise InvalidInput(f"policy '{name}'", f"in '{trace.name}' pods stay for ever", f"give '{chosen.policy}'")
    if chosen.kind == "job":
        raise InvalidInput(
            f"policy '{name}'",
            f"orders jobs, and '{trace.name}' has pods that stay for ever",
            "give a placement policy (see: quartermaster policies), or a trace of jobs",
        )


def simulate(task: Task) -> Run:
    """Make one run."""
    trace = load(task.source)
    check_policy(task.policy, trace)
    if isinstance(trace, JobTrace):
        return simulate_jobs(trace, policy=task.policy, seed=task.seed, locality=task.locality)
    return simulate_arrivals(trace, policy=task.policy, seed=task.seed, until=task.until)
