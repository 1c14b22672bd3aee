"""Jobs over virtual time: arrivals, progress, completions and preemptions, decided by the same cycle as everything.

The loop knows two kinds of instants: something happens (a job arrives, ends, or crosses a level of its policy), or
nothing does, and then no time passes. At each, jobs that ran since the last one are credited, and one cycle decides.

What start-up costs follows the trace's `OverheadRule`. Under `PER_EVENT` (Muri's simulator) a job ends when it was
predicted to, and one that is interrupted by any event loses its overhead out of the interval before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.catalogue import find, placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.policies.simple import FirstFit
from quartermaster.simulation.results import Curve, Run
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.jobs import Job, JobTrace

TIRESIAS_LIMITS = (3250.0, 7200.0)
"""Attained GPU-seconds at which a job falls to the next level (discretised 2D-LAS as Muri's simulator sets it)."""


@dataclass(slots=True, eq=False)
class Progress:
    """A job on its way. `left` is computation that remains, in iterations; `attained` the seconds it has held GPUs."""

    index: int
    job: Job
    group: PodGroup
    left: float
    attained: float = 0.0
    overhead_left: float = 0.0
    level: int = 0
    running: bool = False
    ends: float = math.inf
    first_start: float | None = None
    starts: int = 0

    @property
    def remaining(self) -> float:
        """Seconds of computation that remain."""
        return self.left * self.job.iteration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """Which jobs run. `key` sorts those in the system; ties keep the order they are in.

    `pooled` jobs take any free GPUs, wherever they are (the simulator that the digits come from counts GPUs only);
    `limits` are levels of attained GPU time, see `TIRESIAS_LIMITS`.
    """

    key: Callable[[Progress], Any]
    preempts: bool = False
    pooled: bool = False
    limits: tuple[float, ...] = ()


JOB_POLICIES = {
    "fifo": JobPolicy(key=lambda p: p.job.submit),
    "sjf": JobPolicy(key=lambda p: p.job.duration),
    "srtf": JobPolicy(key=lambda p: p.remaining, preempts=True),
    "srsf": JobPolicy(key=lambda p: p.remaining * p.job.gpus, preempts=True),
    "tiresias": JobPolicy(key=lambda p: p.level, preempts=True, pooled=True, limits=TIRESIAS_LIMITS),
}


ONE_QUEUE = "default"
"""Where all jobs are under a job-level policy, which orders them whatever queue they came from."""

POOL = "pooled-gpus"
"""The resource that stands for GPUs where only their number counts."""


def pod_group(job: Job, *, cluster: ClusterShape, queue: str, pooled: bool) -> PodGroup:
    """The gang that a job is: whole nodes and a rest; one pod where GPUs are pooled."""
    if pooled:
        specs = [PodSpec(extended=((POOL, job.gpus),))]
    else:
        full, rest = divmod(job.gpus, cluster.gpus_per_node)
        sizes = [cluster.gpus_per_node] * full + ([rest] if rest else [])
        specs = [PodSpec(gpu=GpuRequest(count=size)) for size in sizes]
    pods = tuple(Pod(f"{job.name}/{index}", spec) for index, spec in enumerate(specs))
    return PodGroup(name=job.name, queue=queue, root=SubGroup(pods=pods), created=job.submit)


def nodes_of(cluster: ClusterShape, *, pooled: bool) -> list[Node]:
    """The cluster's nodes, or one that has all their GPUs as a number."""
    if pooled:
        return [Node(name="pool", cpu=0, memory=0, extended={POOL: cluster.gpus})]
    width = len(str(cluster.nodes - 1))
    return [Node(name=f"node-{i:0{width}d}", cpu=0, memory=0, gpus=cluster.gpus_per_node) for i in range(cluster.nodes)]


@dataclass(slots=True)
class _Log:
    """What the report wants to know about the course of a run."""

    times: list[float] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    by_queue: list[dict[str, int]] = field(default_factory=list)


class _Simulation:
    """One run of a job trace under one policy."""

    def __init__(self, trace: JobTrace, *, policy: str, seed: int, overhead: OverheadRule) -> None:
        self._trace = trace
        self._per_event = overhead is OverheadRule.PER_EVENT
        shape = trace.cluster
        jobs = JOB_POLICIES.get(policy)
        self._order = jobs
        pooled = bool(jobs and jobs.pooled)
        self._state = ClusterState(nodes_of(shape, pooled=pooled))
        self._all = [
            Progress(
                index,
                job,
                pod_group(job, cluster=shape, queue=ONE_QUEUE if jobs else job.queue, pooled=pooled),
                job.iterations,
            )
            for index, job in enumerate(trace.jobs)
        ]
        for progress in self._all:
            for pod in progress.group.pods:
                self._state.shape(pod.spec)
        queues = QueueTree([_queue(name, trace) for name in sorted({job.queue for job in trace.jobs})])
        if jobs is None:
            mix = Mix.of(pod.spec for progress in self._all for pod in progress.group.pods)
            placement = placement_policy(policy, mix)
        else:
            placement = FirstFit()
        self._rank: dict[str, int] = {}
        self._policies = Policies(
            placement=placement,
            queues=QueueTree.single() if jobs else queues,
            group_key=(lambda group: self._rank[group.name]) if jobs else None,
            replan=bool(jobs and jobs.preempts),
            migrate=self._per_event,
            explain=False,
        )
        self._rng = np.random.default_rng(seed)
        self._active: list[Progress] = []
        self.log = _Log()

    def run(self) -> dict[str, float]:
        """Run to the end; returns when each job ended."""
        todo = list(reversed(self._all))
        ends: dict[str, float] = {}
        now = todo[-1].job.submit if todo else 0.0
        last = now
        while todo or self._active:
            now = min(todo[-1].job.submit if todo else math.inf, self._next_instant(last))
            if math.isinf(now):
                stuck = self._active[0].job
                raise InvalidInput(f"job '{stuck.name}'", "can never start", "give a cluster that it fits on")
            self._credit(now - last, now)
            for progress in [p for p in self._active if p.running and p.ends <= now]:
                ends[progress.job.name] = now
                self._leave(progress)
            while todo and todo[-1].job.submit <= now:
                self._active.append(todo.pop())
            self._demote()
            self._decide(now)
            last = now
        return ends

    def _next_instant(self, now: float) -> float:
        """When the next running job ends, or crosses a limit of its policy."""
        best = math.inf
        limits = self._order.limits if self._order else ()
        for progress in self._active:
            if not progress.running:
                continue
            best = min(best, progress.ends)
            if progress.level < len(limits):
                held = math.ceil(limits[progress.level] / progress.job.gpus) - progress.attained
                if held > 0:
                    best = min(best, now + held)
        return best

    def _credit(self, elapsed: float, now: float) -> None:
        for progress in self._active:
            if not progress.running:
                continue
            progress.attained += elapsed
            if progress.ends > now:
                if self._per_event:
                    worked = max(elapsed - progress.job.overhead, 0.0)
                else:
                    paid = min(elapsed, progress.overhead_left)
                    progress.overhead_left -= paid
                    worked = elapsed - paid
                progress.left -= worked / progress.job.iteration_s

    def _demote(self) -> None:
        """Jobs that crossed a limit of their level go to the end of the next one, oldest job first."""
        limits = self._order.limits if self._order else ()
        if not limits:
            return
        fallen = [
            progress
            for progress in self._active
            if progress.running
            and progress.level < len(limits)
            and progress.attained * progress.job.gpus >= limits[progress.level]
        ]
        for progress in sorted(fallen, key=lambda p: p.index):
            progress.level += 1
            self._active.remove(progress)
            self._active.append(progress)

    def _leave(self, progress: Progress) -> None:
        self._active.remove(progress)
        for pod in progress.group.pods:
            self._state.forget(pod.name)

    def _decide(self, now: float) -> None:
        active, order = self._active, self._order
        if order is not None:
            active.sort(key=order.key)
            self._rank = {progress.job.name: rank for rank, progress in enumerate(active)}
        groups = [p.group for p in active if self._policies.replan or not p.running]
        plan = cycle(self._state.borrow(), self._policies, groups=groups, now=now, rng=self._rng)
        moved = {evict.pod.rpartition("/")[0] for evict in plan.evictions}
        plan.apply(self._state)
        self._state.tidy()
        started = {placement.group for placement in plan.placements}
        for progress in active:
            name = progress.job.name
            if name in started:
                progress.running = True
                progress.starts += 1
                progress.overhead_left = progress.job.overhead
                if progress.first_start is None:
                    progress.first_start = now
            elif name in moved:
                progress.running = False
            if progress.running:
                extra = 0.0 if self._per_event else progress.overhead_left
                progress.ends = now + extra + progress.remaining
            else:
                progress.ends = math.inf
        if order is not None and order.limits:
            # Within a level, those that wait go behind those that run.
            active.sort(key=lambda p: (p.level, not p.running))
        self._note(now)

    def _note(self, now: float) -> None:
        log = self.log
        running = [p for p in self._active if p.running]
        log.times.append(now)
        log.busy.append(sum(p.job.gpus for p in running))
        log.waiting.append(len(self._active) - len(running))
        shares: dict[str, int] = {}
        for p in running:
            shares[p.job.queue] = shares.get(p.job.queue, 0) + p.job.gpus
        log.by_queue.append(shares)

    def report(self, ends: dict[str, float], *, policy: str, seed: int) -> Run:
        """Metrics in seconds and per cent, and the curves."""
        gpus = self._trace.cluster.gpus
        jct = sorted(ends[p.job.name] - p.job.submit for p in self._all)
        waits = sorted((p.first_start or 0.0) - p.job.submit for p in self._all)
        log = self.log
        start = self._all[0].job.submit
        makespan = max(ends.values()) - start
        times = np.array(log.times) - start
        held = float(np.dot(np.diff(times), np.array(log.busy[:-1], dtype=np.float64)))
        metrics = {
            "average_jct_s": sum(jct) / len(jct),
            "makespan_s": makespan,
            "p99_jct_s": jct[min(int(0.99 * len(jct)), len(jct) - 1)],
            "median_wait_s": float(np.median(waits)),
            "gpu_utilisation_percent": 100 * held / (gpus * makespan) if makespan else 0.0,
        }
        curves = {"utilisation": (times, np.array(log.busy) / gpus * 100), "waiting": (times, np.array(log.waiting))}
        names = sorted({name for shares in log.by_queue for name in shares})
        shares = {name: (times, np.array([s.get(name, 0) for s in log.by_queue]) / gpus * 100) for name in names}
        restarts = sum(p.starts - 1 for p in self._all)
        return Run(
            policy=policy,
            seed=seed,
            metrics=metrics,
            curves={name: _curve(*line) for name, line in curves.items()},
            samples={"wait_s": tuple(waits), "jct_s": tuple(jct)},
            queue_share={name: _curve(*line) for name, line in shares.items()} if len(shares) > 1 else {},
            note=f"{len(jct)} jobs, {restarts} restarts",
        )


def _queue(name: str, trace: JobTrace) -> Queue:
    """A queue of a trace: all are entitled alike."""
    queues = len({job.queue for job in trace.jobs})
    return Queue(name=name, quotas={"gpu": Quota(deserved=trace.cluster.gpus / queues)})


def _curve(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Curve:
    return Curve(tuple(x.tolist()), tuple(np.asarray(y, dtype=np.float64).tolist()))


def simulate_jobs(trace: JobTrace, *, policy: str, seed: int, overhead: OverheadRule | None = None) -> Run:
    """One run. A placement policy's name means jobs by queue and age, placed by that policy."""
    find(policy)
    simulation = _Simulation(trace, policy=policy, seed=seed, overhead=overhead or trace.overhead_rule)
    return simulation.report(simulation.run(), policy=policy, seed=seed)
