"""Jobs over virtual time: arrivals, progress, completions and preemptions, decided by the same cycle as everything.

The loop knows two kinds of instants: something happens (a job arrives, ends, or crosses a level of its policy), or
nothing does, and then no time passes. At each, jobs that ran since the last one are credited, and one cycle decides.

Whoever is stopped waits again, with the work that he has done: it is taken to be saved at that moment, and what a stop
costs is the start-up that is paid again. A cycle that stopped somebody is followed by another at the same instant, as
on a cluster: what victims leave may be more than what they were stopped for.

What start-up costs follows the trace's `OverheadRule`. Under `PER_EVENT` (Muri's simulator) a job ends when it was
predicted to, and one that is interrupted by any event loses its overhead out of the interval before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import DEFAULT_PRIORITY, PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.reservation import Reservation
from quartermaster.model.units import DEVICE, GPU
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.policies.simple import FirstFit
from quartermaster.scheduling.rules import Action, Rules
from quartermaster.scheduling.turns import by_priority_and_age
from quartermaster.simulation.distance import CLOSE, RACKS, Distance, Locality, label
from quartermaster.simulation.fairness import fairness, service
from quartermaster.simulation.progress import JOB_POLICIES, Progress, order_of
from quartermaster.simulation.replan import could_make_room, touched
from quartermaster.simulation.results import Curve, Run
from quartermaster.simulation.traces.cluster import ClusterShape, OverheadRule
from quartermaster.simulation.traces.jobs import Job, JobTrace
from quartermaster.simulation.variants import variant
from quartermaster.simulation.waiting import Capacity, Pool, Room, WaitingLine

ONE_QUEUE = "default"
"""Where all jobs are under a job-level policy, which orders them whatever queue they came from."""

ROOM = (Action.ALLOCATE, Action.CONSOLIDATE, Action.RECLAIM, Action.PREEMPT)
"""What a cycle does that makes room."""

POOL = "pooled-gpus"
"""The resource that stands for GPUs where only their number counts."""


@cache
def _spec(gpus: int) -> PodSpec:
    """One value for each size: a cycle looks at every different object among the specs that it is offered."""
    return PodSpec(gpu=GpuRequest(count=gpus))


@cache
def _pooled_spec(gpus: int) -> PodSpec:
    return PodSpec(extended=((POOL, gpus),))


ROUNDS = 100
"""Cycles at one instant, at most. Evictions raise a potential, so they end by themselves long before."""


def pod_group(
    job: Job, *, cluster: ClusterShape, queue: str, pooled: bool, close: bool = False, ranked: bool = False
) -> PodGroup:
    """The gang that a job is: whole nodes and a rest; one pod where GPUs are pooled.

    `close`: on several nodes, it likes these to be in one rack. `ranked`: the priority that the trace has counts.
    """
    if pooled:
        specs = [_pooled_spec(job.gpus)]
    else:
        full, rest = divmod(job.gpus, cluster.gpus_per_node)
        specs = [_spec(cluster.gpus_per_node)] * full + ([_spec(rest)] if rest else [])
    pods = tuple(Pod(f"{job.name}/{index}", spec) for index, spec in enumerate(specs))
    root = SubGroup(pods=pods, topology=CLOSE if close and len(pods) > 1 else None)
    priority = job.priority if ranked else DEFAULT_PRIORITY
    return PodGroup(name=job.name, queue=queue, root=root, created=job.submit, priority=priority)


def nodes_of(cluster: ClusterShape, *, pooled: bool, rack: int = 0) -> list[Node]:
    """The cluster's nodes, or one that has all their GPUs as a number."""
    if pooled:
        return [Node(name="pool", cpu=0, memory=0, extended={POOL: cluster.gpus})]
    width = len(str(cluster.nodes - 1))
    gpus = cluster.gpus_per_node
    return [
        Node(name=f"node-{i:0{width}d}", cpu=0, memory=0, gpus=gpus, labels=label(i, rack))
        for i in range(cluster.nodes)
    ]


@dataclass(slots=True)
class _Log:
    """What the report wants to know about the course of a run."""

    times: list[float] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    by_queue: list[dict[str, int]] = field(default_factory=list)


class JobSimulation:
    """One run of a job trace under one policy."""

    def __init__(
        self, trace: JobTrace, *, policy: str, seed: int, overhead: OverheadRule, locality: Locality | None = None
    ) -> None:
        self._trace = trace
        self._per_event = overhead is OverheadRule.PER_EVENT
        shape = trace.cluster
        chosen = variant(policy)
        jobs = JOB_POLICIES.get(policy)
        self._makes_room = chosen.preempt
        self._backfills = bool(chosen.backfill or (jobs and jobs.backfills))
        self._distance = Distance(shape, locality) if locality else None
        rack = locality.rack if locality else 0
        self._order = jobs
        pooled = bool(jobs and jobs.pooled)
        self._state = ClusterState(nodes_of(shape, pooled=pooled, rack=rack))
        self._room: Capacity = (
            Pool(shape.gpus) if pooled else Room(nodes=shape.nodes, gpus_per_node=shape.gpus_per_node)
        )
        self._all = [
            Progress(
                index,
                job,
                pod_group(
                    job,
                    cluster=shape,
                    queue=ONE_QUEUE if jobs else job.queue,
                    pooled=pooled,
                    close=bool(rack and jobs is None),
                    ranked=chosen.preempt,
                ),
                job.iterations,
                job.iteration_s,
            )
            for index, job in enumerate(trace.jobs)
        ]
        for progress in self._all:
            for pod in progress.group.pods:
                self._state.shape(pod.spec)
        self._by_name = {progress.job.name: progress for progress in self._all}
        queues = QueueTree([_queue(name, trace) for name in sorted({job.queue for job in trace.jobs})])
        if jobs is None:
            mix = Mix.of(pod.spec for progress in self._all for pod in progress.group.pods)
            placement = placement_policy(chosen.policy, mix)
        else:
            placement = FirstFit()
        self._policies = Policies(
            placement=placement,
            queues=QueueTree.single() if jobs else queues,
            group_key=(lambda group: self._by_name[group.name].order) if jobs else None,
            replan=bool(jobs and jobs.preempts),
            migrate=self._per_event and not pooled,
            explain=False,
            topologies={RACKS.name: RACKS} if rack else {},
            actions=ROOM if chosen.preempt else (Action.ALLOCATE,),
            rules=Rules(reservations=int(self._backfills)),
        )
        self._queues = len({job.queue for job in trace.jobs})
        self._worth_it = self._makes_room
        self._rng = np.random.default_rng(seed)
        self._running: list[Progress] = []
        self._line = WaitingLine()
        self._levels = trace.levels if jobs and jobs.levels else None
        # Where GPUs are pooled and yet speed depends on nodes: the nodes that pooled GPUs are taken from.
        paced = pooled and (locality is not None or any(job.pace for job in trace.jobs))
        self._nodes = Room(nodes=shape.nodes, gpus_per_node=shape.gpus_per_node) if paced else None
        self._last = 0
        self._front = 0
        self._shares: dict[str, int] = {}
        self._reserved: dict[str, Reservation] = {}
        self.log = _Log()

    def run(self) -> dict[str, float]:
        """Run to the end; returns when each job ended."""
        todo = list(reversed(self._all))
        ends: dict[str, float] = {}
        now = todo[-1].job.submit if todo else 0.0
        last = now
        while todo or self._running or self._line:
            now = min(todo[-1].job.submit if todo else math.inf, self._next_instant(last))
            if self._trace.interval and not math.isinf(now):
                now = math.ceil(now / self._trace.interval) * self._trace.interval
            if math.isinf(now):
                stuck = min(self._line.heads(), key=order_of).job
                raise InvalidInput(f"job '{stuck.name}'", "can never start", "give a cluster that it fits on")
            for progress in self._advance(now - last, now):
                ends[progress.job.name] = progress.ends
                self._leave(progress)
            while todo and todo[-1].job.submit <= now:
                self._arrive(todo.pop())
            self._demote()
            self._decide(now)
            last = now
        return ends

    def _next_instant(self, now: float) -> float:
        """When the next running job ends, or crosses a limit of its policy."""
        best = min([progress.ends for progress in self._running], default=math.inf)
        limits = self._levels.limits if self._levels else ()
        if limits:
            for progress in self._running:
                if progress.level < len(limits):
                    held = math.ceil(limits[progress.level] / progress.job.gpus) - progress.attained
                    if held > 0:
                        best = min(best, now + held)
        return best

    def _advance(self, elapsed: float, now: float) -> list[Progress]:
        """Credit the running jobs with the time since the last decision; returns those that ended, which still run."""
        per_event, ended = self._per_event, []
        for progress in self._running:
            progress.attained += elapsed
            if progress.ends <= now:
                ended.append(progress)
                continue
            job, extra = progress.job, 0.0
            if per_event:
                worked = max(elapsed - job.overhead, 0.0)
            else:
                extra = progress.overhead_left
                paid = min(elapsed, extra)
                progress.overhead_left = extra = extra - paid
                worked = elapsed - paid
            progress.left = left = progress.left - worked / progress.iteration_s
            progress.ends = now + extra + left * progress.iteration_s
        if self._order is not None and self._order.moves:
            self._reorder(self._order.key)
        return ended

    def _predict(self, progress: Progress, now: float) -> None:
        extra = 0.0 if self._per_event else progress.overhead_left
        progress.ends = now + extra + progress.remaining

    # ---- the order of jobs

    def _next(self) -> int:
        """A number behind all that were given out."""
        self._last += 1
        return self._last

    def _reorder(self, key: Callable[[Progress], Any]) -> None:
        """New keys for those that ran. Whoever comes to a key that another has, comes behind him."""
        for progress in self._running:
            own = key(progress)
            if own != progress.order[0]:
                progress.order = (own, self._next())
        self._running.sort(key=order_of)

    def _arrive(self, progress: Progress) -> None:
        if self._order is None:
            progress.order = by_priority_and_age(progress.group)
        elif self._levels is not None:
            progress.order = (0, int(self._levels.waiting_last), self._next())
        else:
            progress.order = (self._order.key(progress), self._next())
        self._line.add(progress)

    def _demote(self) -> None:
        """Jobs that crossed a limit of their level go to the end of the next one, oldest job first."""
        limits = self._levels.limits if self._levels else ()
        if self._levels is None:
            return
        fallen = [
            progress
            for progress in self._running
            if progress.level < len(limits) and progress.attained * progress.job.gpus >= limits[progress.level]
        ]
        if not fallen:
            return
        for progress in sorted(fallen, key=lambda p: p.index):
            progress.level += 1
            progress.order = (progress.level, int(self._levels.waiting_last), self._next())
        self._running.sort(key=order_of)

    def _requeue(self, evicted: list[Progress]) -> None:
        """Within a level, those that wait go behind those that run: the middle of an order is 0 for these, 1 for those.

        Who starts or fell goes to the end of those that run, who is evicted to the front of those that wait.
        """
        new = [progress for progress in self._running if progress.order[1]]
        for progress in sorted(new, key=order_of):
            progress.order = (progress.level, 0, self._next())
        for progress in sorted(evicted, key=order_of, reverse=True):
            if progress.order[1] == 0:
                self._front -= 1
                progress.order = (progress.level, 1, self._front)

    # ---- deciding

    def _leave(self, progress: Progress) -> None:
        self._running.remove(progress)
        self._release(progress)
        for pod in progress.group.pods:
            self._state.forget(pod.name)

    def _release(self, progress: Progress) -> None:
        self._room.give(progress.places)
        if self._nodes is not None:
            self._nodes.give(progress.spread)
        self._shares[progress.job.queue] -= progress.job.gpus
        progress.running = False
        progress.ends = math.inf

    def _decide(self, now: float) -> None:
        for _ in range(ROUNDS if self._makes_room else 1):
            offered = self._offer()
            evicted, again = self._cycle(offered, now) if offered else ([], False)
            if self._levels is not None and self._levels.waiting_last:
                self._requeue(evicted)
            for progress in evicted:
                self._line.add(progress)
            if self._policies.replan:
                self._running.sort(key=order_of)
            if not again:
                break
        self._note(now)

    def _offer(self) -> list[Progress]:
        """The jobs on which a cycle decides; leaving the others out changes nothing, see `WaitingLine`.

        Where running jobs migrate, each into the gap before it, all of them are looked at.
        """
        room, line, policies = self._room, self._line, self._policies
        if self._order is not None and self._order.strict:
            return line.in_turn(room)
        if self._makes_room:
            self._worth_it = could_make_room(room, line, self._running, queues=self._queues)
            if self._worth_it:
                return line.first(room)
        if self._backfills:
            return line.could_pass(room)
        if not policies.replan:
            return line.could_start(room)
        if policies.migrate:
            return self._running + line.first(room)
        return touched(room, line, self._running)

    def _cycle(self, offered: list[Progress], now: float) -> tuple[list[Progress], bool]:
        """Decide and make it so; returns those that lost their places, which wait nowhere yet, and if any moved."""
        state = self._state
        demand = None if self._order else {name: {GPU: gpus * DEVICE} for name, gpus in self._line.gpus.items()}
        groups = [progress.group for progress in offered]
        running: list[PodGroup] = []
        if self._backfills:
            groups = [self._with_times(progress) for progress in offered]
        if self._backfills or self._worth_it:
            running = [replace(p.group, started=p.since, runtime=max(0.0, p.ends - p.since)) for p in self._running]
        plan = cycle(
            state.borrow(), self._policies, groups=groups, running=running, now=now, rng=self._rng, demand=demand
        )
        self._reserved = plan.reservations
        if not (plan.evictions or plan.placements):
            return [], False
        plan.apply(state)
        state.tidy()
        moved = dict.fromkeys(evict.pod.rpartition("/")[0] for evict in plan.evictions)
        stopped = [self._by_name[name] for name in moved]
        for progress in stopped:
            self._release(progress)
        placed = {placement.group for placement in plan.placements}
        for progress in sorted((self._by_name[name] for name in placed), key=order_of):
            if progress.job.name not in moved:
                self._line.remove(progress)
                self._running.append(progress)
            self._start(progress, now)
        if stopped:
            self._running = [progress for progress in self._running if progress.running]
        return [progress for progress in stopped if not progress.running], bool(stopped)

    def _with_times(self, progress: Progress) -> PodGroup:
        """The group of a job that says how long it runs, with the room that was promised to it."""
        runtime = progress.remaining + progress.job.overhead
        return replace(progress.group, runtime=runtime, reserved=self._reserved.get(progress.job.name))

    def _start(self, progress: Progress, now: float) -> None:
        """The job starts, or starts again elsewhere, where the plan put it."""
        there, pods = self._state.pods, progress.group.pods
        # Where GPUs are pooled, pods have no devices, and all that counts is how many the job has.
        progress.places = tuple((there[pod.name].row, there[pod.name].devices or progress.job.gpus) for pod in pods)
        self._room.take(progress.places)
        if self._distance is not None or progress.job.pace is not None:
            self._set_speed(progress)
        self._shares[progress.job.queue] = self._shares.get(progress.job.queue, 0) + progress.job.gpus
        progress.running = True
        progress.since = now
        progress.starts += 1
        progress.overhead_left = progress.job.overhead
        if progress.first_start is None:
            progress.first_start = now
        self._predict(progress, now)

    def _set_speed(self, progress: Progress) -> None:
        """The seconds of an iteration where a job starts."""
        if self._nodes is not None:
            progress.spread = self._nodes.most_free(progress.job.gpus)
            self._nodes.take(progress.spread)
        job, places = progress.job, progress.spread or progress.places
        if job.pace is not None:
            progress.iteration_s = job.pace([mask.bit_count() for _, mask in places])
        elif self._distance is not None:
            slower = self._distance.slowdown([row for row, _ in places], gpus=job.gpus)
            progress.iteration_s = job.iteration_s * slower

    def _note(self, now: float) -> None:
        log = self.log
        log.times.append(now)
        log.busy.append(self._room.total - self._room.free)
        log.waiting.append(len(self._line))
        log.by_queue.append(self._shares.copy())

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
        services: dict[str, list[float]] = {}
        for p in self._all:
            completion = ends[p.job.name] - p.job.submit
            services.setdefault(p.job.queue, []).append(service(duration=p.job.duration, completion=completion))
        metrics = {
            "average_jct_s": sum(jct) / len(jct),
            "makespan_s": makespan,
            "p99_jct_s": jct[min(int(0.99 * len(jct)), len(jct) - 1)],
            "median_wait_s": float(np.median(waits)),
            "gpu_utilisation_percent": 100 * held / (gpus * makespan) if makespan else 0.0,
            **fairness(services),
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


def simulate_jobs(
    trace: JobTrace,
    *,
    policy: str,
    seed: int,
    overhead: OverheadRule | None = None,
    locality: Locality | None = None,
) -> Run:
    """One run. A placement policy's name means jobs by queue and age, placed by that policy; see also `variants`."""
    if locality is not None:
        locality.check(trace)
    rule = overhead or trace.overhead_rule
    simulation = JobSimulation(trace, policy=policy, seed=seed, overhead=rule, locality=locality)
    return simulation.report(simulation.run(), policy=policy, seed=seed)
