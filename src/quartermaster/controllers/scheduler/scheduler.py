"""The loop: gather changes, decide in one cycle, send what follows, say why the rest waits.

Changes are gathered for a moment, longer when cycles take longer, so that deciding never takes more than a part of the
time however fast changes come. A cycle decides on what is new and on what may have become possible: a group that was
found to fit nowhere is left out until room was given back, a rule changed, or `RETRY_S` passed. Everything a cycle
decided is put down before the first word to the API, so the next cycle never sees half of it.

Only a leader decides; a standby keeps the same picture. A standby's picture may be late by any time, so a new leader
lists the pods anew before its first cycle: what the last one did is in that list, or will never be.

Two clocks: `clock` is what objects are stamped with, and may be set; `steady` is what waits are measured on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import NodeObject, PodObject
from quartermaster.controllers.scheduler.effects import Effects
from quartermaster.controllers.scheduler.executor import Executor
from quartermaster.controllers.scheduler.grouping import Grouping, Known
from quartermaster.controllers.scheduler.membership import Membership
from quartermaster.controllers.scheduler.metrics import Counted, Metrics
from quartermaster.controllers.scheduler.narrator import Narrator
from quartermaster.controllers.scheduler.occupancy import Occupancy
from quartermaster.controllers.scheduler.provisioning import Provisioning
from quartermaster.controllers.scheduler.reporter import Reporter
from quartermaster.controllers.scheduler.site import Site
from quartermaster.controllers.scheduler.sources import Sources
from quartermaster.controllers.scheduler.teller import Teller
from quartermaster.controllers.scheduler.volumes import Volumes
from quartermaster.kube.api import Api, Json
from quartermaster.kube.clock import Clock, SteadyClock
from quartermaster.kube.events import Events
from quartermaster.kube.reflector import Reflector
from quartermaster.kube.views import view_of
from quartermaster.model.pod import GpuRequest, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix
from quartermaster.scheduling.quota import quota_request, quota_resources
from quartermaster.scheduling.rules import Rules
from quartermaster.workloads.group import Member

_log = logging.getLogger(__name__)

NAMES = frozenset(("quartermaster", "default-scheduler"))
"""Whose pods are ours in a cluster that has no other scheduler."""

GATHER_S, LONGEST_GATHER_S = 0.01, 0.5
RETRY_S = 30.0
"""After this time a group that fits nowhere is tried again though nothing was seen to change: time itself is an input
(minimum runtimes, delays, ageing)."""

REPORT_S = 1.0
"""Between reports on queues and groups."""

SET_S = 0.5
"""A clock that goes apart from the steady one by more than this between two cycles was set."""

SILENCE_S = 60.0
"""After which a scheduler that shows no sign of life is taken for stuck."""

EXPECTED = Mix.of([PodSpec(cpu=8000 * count, gpu=GpuRequest(count=count)) for count in (1, 1, 2, 4, 8)])
"""What nodes are kept fit for while nothing is known of the workload: jobs of 1 to 8 GPUs, small ones more often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an operator chooses. `names`: the schedulerNames that are ours."""

    names: frozenset[str] = NAMES
    placement: PlacementPolicy | None = None
    rules: Rules = field(default_factory=Rules)
    default_queue: str = "default"
    instance: str = "quartermaster"
    """Which of several this is, in events."""
    seed: int = 0


class Scheduler:
    """Runs until cancelled. Given `leading`, it decides while that is true and `lead` runs; else always.

    Without `steady`, waits are measured on `clock`, which is never set then.
    """

    def __init__(
        self,
        api: Api,
        *,
        clock: Clock,
        options: Options | None = None,
        steady: Clock | None = None,
        leading: Callable[[], bool] | None = None,
        metrics: Metrics | None = None,
        gather: float = GATHER_S,
    ) -> None:
        self.options = options or Options()
        self.metrics = metrics or Metrics()
        api = Counted(api, self.metrics.writes)
        self._clock, self._gather = clock, gather
        self._steady = steady or clock
        self._leading = leading or (lambda: True)
        self._informed = leading is None
        self._placement = self.options.placement or placement_policy("quartermaster", EXPECTED)
        self._rng = np.random.default_rng(self.options.seed)
        self._changed = asyncio.Event()
        self._spoken = asyncio.Event()
        rng = Random(self.options.seed)  # noqa: S311  # no secrets
        self.occupancy = Occupancy(now=clock)
        self.sources = Sources(api, clock=self._steady, rng=rng, steady=steady)
        self.site = Site(
            self.sources, default_queue=self.options.default_queue, changed=self._site_changed, nodes=self._seen_nodes
        )
        self.grouping = Grouping(self.occupancy, self.site)
        self.membership = Membership(api, self.sources, clock=self._steady, rng=rng, joined=self._joined)
        self.teller = Teller(api, clock=self._steady)
        self._nodes = Reflector(
            api, NodeObject.RESOURCE, self._node_changed, view=view_of(NodeObject), clock=steady, rng=rng
        )
        self._pods = Reflector(
            api, PodObject.RESOURCE, self._pod_changed, view=view_of(PodObject), clock=steady, rng=rng
        )
        self.volumes = Volumes(
            self.sources, changed=self._volumes_changed, placed=self.occupancy.where, labels=self.occupancy.labels_of
        )
        self.occupancy.narrowed, self.grouping.blocks = self.volumes.narrowed, self.volumes.blocks
        self.provisioning = Provisioning(self.volumes, clock=self._steady, rng=rng)
        self.events = Events(
            api, component="quartermaster", instance=self.options.instance, clock=steady or SteadyClock(), wall=clock
        )
        self.narrator = Narrator(self.occupancy, self.teller, self.events, clock=clock, owner=self._owner_of)
        self.effects = Effects(
            self.occupancy,
            self.grouping,
            self.narrator,
            clock=clock,
            steady=self._steady,
            metrics=self.metrics,
            changed=self.wake,
        )
        self.executor = Executor(
            api,
            clock=clock,
            steady=self._steady,
            rng=rng,
            done=self.effects.settled,
            leading=self._leading,
            before=self.provisioning.before,
        )
        self.reporter = Reporter(
            self.sources,
            self.site,
            self.grouping,
            state=self.occupancy.state,
            teller=self.teller,
            clock=clock,
            rules=self.options.rules,
            metrics=self.metrics,
            owner=self._owner_of,
        )
        self.grouping.recall = self.reporter.recall
        self._cut: list[str] = []
        self._relabel = False
        self._revisit: set[str] = set()
        """Pods whose volumes changed: looked at once a cycle, however many volumes come and go."""
        self._stale: set[str] = set()
        self._reserved: set[str] = set()
        self._alive = time.monotonic()
        self._all_at = self._decided_at = float("-inf")
        self._ahead = self._wall_ahead()
        self._measure()

    def _measure(self) -> None:
        """Say where gauges are read from when somebody looks."""
        metrics, grouping = self.metrics, self.grouping
        metrics.leading.set_function(lambda: float(self._leading()))
        metrics.nodes.set_function(lambda: len(self.occupancy.state.rows))
        metrics.pods.set_function(lambda: len(self.occupancy.records))
        metrics.waiting.set_function(lambda: len(grouping.waiting))
        metrics.running.set_function(lambda: len(grouping.running))
        metrics.wrong.set_function(lambda: len(grouping.wrong))
        metrics.in_flight.set_function(lambda: self.executor.in_flight)

    def wake(self) -> None:
        """Look again soon."""
        self._changed.set()

    async def lead(self) -> None:
        """Decide from now on until cancelled: the lease is ours, and nobody else writes any more."""
        await self._pods.synced.wait()
        await self._pods.renew()
        self._informed = True
        self.wake()
        try:
            await asyncio.Event().wait()
        finally:
            self._informed = False

    async def run(self) -> None:
        """Watch and decide until cancelled."""
        async with asyncio.TaskGroup() as group:
            self.effects.start(self.executor, group)
            self.provisioning.start(group)
            group.create_task(self._pulse(), name="pulse")
            group.create_task(self.executor.run(), name="executor")
            group.create_task(self.teller.run(), name="teller")
            group.create_task(self.events.run(), name="events")
            await self.follow(group)
            about = {"nodes": len(self.occupancy.state.rows), "pods": len(self.occupancy.records)}
            _log.info("sees %(nodes)d nodes and %(pods)d pods", about, extra=about)
            group.create_task(self._report(), name="reports")
            took = 0.0
            while True:
                await self._until_changed()
                await self._steady.until(self._steady() + min(LONGEST_GATHER_S, max(self._gather, 2 * took)))
                self._changed.clear()
                began = self._steady()
                if self._may_decide():
                    self.decide()
                took = self._steady() - began

    def _may_decide(self) -> bool:
        return self._informed and self._leading()

    async def follow(self, group: asyncio.TaskGroup) -> None:
        """Watch, and return when all that there is was heard of, but for groups whose owners had to be asked for."""
        await self.sources.start(group)
        await self.site.start()
        await self.volumes.start()
        await self.membership.start(group)
        for mirror in (self._nodes, self._pods):
            group.create_task(mirror.run(), name=f"watch of {mirror.path}")
            await mirror.synced.wait()

    async def _pulse(self) -> None:
        """A loop that is stuck does not come here."""
        while True:
            self._alive = time.monotonic()
            await self._steady.until(self._steady() + SILENCE_S / 4)

    async def _report(self) -> None:
        """Say what there is to say: at once if nothing was said of late, and not more often than people read."""
        last = float("-inf")
        while True:
            await self._spoken.wait()
            await self._steady.until(max(self._steady() + self._gather, last + REPORT_S))
            last = self._steady()
            self._spoken.clear()
            if self._may_decide() and self.reporter.report():
                self._spoken.set()

    def unhealthy(self) -> str:
        """What is wrong that a restart may mend; empty if nothing is."""
        behind = time.monotonic() - self._alive
        return f"no sign of life for {behind:.0f} s" if behind > SILENCE_S else ""

    def unready(self) -> str:
        """Why it cannot decide; empty if it can."""
        for mirror in (self._nodes, self._pods):
            if not mirror.synced.is_set():
                return f"{mirror.path}: not read yet ({mirror.failure or 'no answer'})"
        return ""

    async def _until_changed(self) -> None:
        due = self._next_due()
        if self._changed.is_set():
            return
        if due == float("inf"):
            await self._changed.wait()
            return
        waits = [asyncio.ensure_future(self._steady.until(due)), asyncio.ensure_future(self._changed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # ---- what is heard

    def _node_changed(self, before: NodeObject | None, after: NodeObject | None) -> None:
        if self.occupancy.node_changed(before, after):
            for pod in self.occupancy.moved:
                self.grouping.touch(pod)
            self.occupancy.moved.clear()
            self.site.nodes_changed()
            self.wake()

    def _pod_changed(self, before: PodObject | None, after: PodObject | None) -> None:
        value = after or before
        assert value is not None, "something changed"
        name = value.title
        if not self.occupancy.pod_changed(name, after):
            return
        if after is None:
            self.volumes.gone(name)
            self.membership.gone(name)
            self.grouping.leave(name)
            self.narrator.hush(name)
        else:
            self.volumes.look(name, value)
        if after is not None and api_pods.scheduler_of(value) in self.options.names:
            self.membership.look(name, value)
            self.grouping.touch(name)
        self.wake()

    def _seen_nodes(self) -> list[Json]:
        return [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.metadata.name, "labels": dict(node.labels)}}
            for node in self.occupancy.nodes()
        ]

    def _owner_of(self, known: Known) -> Json | None:
        uid, pod = "" if known.group is None else known.group.uid, next(iter(known.members), "")
        return self.membership.owner(pod, uid) if uid else None

    def _joined(self, pod: str, member: Member) -> None:
        """It is known, or known anew, which group a pod belongs to."""
        if pod in self.occupancy.records:
            self.grouping.join(pod, member)
            self.wake()

    def _volumes_changed(self, pods: set[str]) -> None:
        """What these pods may ask for, or wait for, is otherwise."""
        self._revisit |= pods
        self.wake()

    def _site_changed(self) -> None:
        self.occupancy.releases += 1
        self._relabel = True
        self.grouping.touch_all()
        self.reporter.touch()
        self._spoken.set()
        self.wake()

    # ---- deciding

    def decide(self) -> None:
        """One cycle, and what follows from it."""
        plan = self.plan()
        if plan is not None:
            self.effects.carry_out(plan)

    def plan(self) -> Plan | None:
        """One cycle, of which nothing follows yet; None if there is nothing to decide."""
        if self._relabel:
            self._relabel = False
            self.occupancy.see_with(self.site.node_labels)
        for pod in sorted(self._revisit):
            self.occupancy.look_again(pod)
            self.grouping.touch(pod)
        self._revisit.clear()
        looked = self.grouping.refresh()
        if looked:
            self.reporter.touch(*(known.name for known in looked))
            self._spoken.set()
        broken = any(known.runs and len(known.members) > 1 for known in looked)
        now = self._clock()
        against = (self.occupancy.releases, self.site.generation)
        waiting = self._to_try(self._steady(), against)
        self._decided_at = self._steady()
        self._heed_set_clock()
        for known in looked:
            if known.wrong:
                self.narrator.undecidable(known)
            elif known.blocked:
                self.narrator.blocked(known)
        if not waiting and not broken and not self._time_is_up(now):
            return None
        running = [known.value for known in self.grouping.running.values() if known.value is not None]
        began = time.perf_counter()
        plan = cycle(
            self.occupancy.state.borrow(),
            self._policies(),
            groups=waiting,
            running=running,
            now=now,
            rng=self._rng,
            demand=None if len(waiting) == len(self.grouping.waiting) else self._demand(),
            first=self._cut,
        )
        self.metrics.cycle.observe(time.perf_counter() - began)
        self.metrics.tried.inc(len(waiting))
        self._remember(plan, against)
        self.reporter.decided(plan, (group.name for group in waiting))
        self._spoken.set()
        return plan

    def _wall_ahead(self) -> float:
        return self._clock() - self._steady()

    def _heed_set_clock(self) -> None:
        """A clock that was set makes no gang older: what is remembered in its time is moved with it."""
        jump, self._ahead = self._wall_ahead() - self._ahead, self._wall_ahead()
        if abs(jump) < SET_S:
            return
        for name in self._stale:
            known = self.grouping.groups.get(name)
            if known is not None and known.value is not None and known.stale_since is not None:
                known.stale_since += jump
                known.value = replace(known.value, stale_since=known.stale_since)

    def _policies(self) -> Policies:
        return Policies(
            placement=self._placement,
            queues=self.site.queues,
            topologies=self.site.topologies,
            rules=self.options.rules,
            budgets=self.site.budgets,
        )

    def _to_try(self, now: float, against: object) -> list[PodGroup]:
        """The groups that wait, less those of which it is known that they fit nowhere."""
        everything = now >= self._all_at + RETRY_S
        if everything:
            self._all_at = now
        held_back = self.effects.held_back
        for name in [name for name, known in held_back.items() if known.not_before <= now]:
            del held_back[name]
        found = []
        for known in self.grouping.waiting.values():
            assert known.value is not None, "groups that cannot be decided on are not among those that wait"
            if known.name in held_back:
                continue
            if everything or known.unfit != against or known.reserved is not None:
                found.append(known.value)
        return found

    def _time_is_up(self, now: float) -> bool:
        """Whether a group that runs may have to end now."""
        return bool(self._stale) or any(
            known.value is not None and now >= (known.value.started or 0.0) + (known.value.max_runtime or 0.0)
            for known in self.grouping.timed.values()
        )

    def _demand(self) -> Mapping[str, Mapping[str, int]]:
        """What waits in all, by queue and resource."""
        state = self.occupancy.state
        wanted: dict[str, Counter[PodSpec]] = {}
        for known in self.grouping.waiting.values():
            assert known.value is not None, "see _to_try"
            specs = wanted.setdefault(known.value.queue, Counter())
            specs.update(pod.spec for pod in known.value.pods if pod.name not in state.pods and not pod.gated)
        resources = quota_resources(self.site.queues)
        smallest = min((p.gpu_memory for p in state.classes.profiles if p.gpu_memory), default=0)
        total: dict[str, Mapping[str, int]] = {}
        for queue, specs in wanted.items():
            amounts = [0] * len(resources)
            for spec, count in specs.items():
                for column, part in enumerate(quota_request(spec, resources=resources, gpu_memory=smallest)):
                    amounts[column] += count * part
            total[queue] = dict(zip(resources, amounts, strict=True))
        return total

    def _remember(self, plan: Plan, against: object) -> None:
        """What the next cycle has to be told of this one."""
        self._cut = plan.cut
        groups = self.grouping.groups
        for name in self._stale | plan.stale.keys():
            known = groups.get(name)
            if known is not None and known.value is not None:
                known.stale_since = plan.stale.get(name)
                known.value = replace(known.value, stale_since=known.stale_since)
        self._stale = set(plan.stale)
        for name in self._reserved | plan.reservations.keys():
            known = groups.get(name)
            if known is not None and known.value is not None:
                known.reserved = plan.reservations.get(name)
                known.value = replace(known.value, reserved=known.reserved)
        self._reserved = set(plan.reservations)
        for verdict in plan.unschedulable:
            groups[verdict.group].unfit = against

    def _next_due(self) -> float:
        """When to look again though nothing changes, on the steady clock."""
        grouping, grace, ahead = self.grouping, self.options.rules.staleness_grace, self._wall_ahead()
        dues = [known.not_before for known in self.effects.held_back.values()]
        if grouping.waiting:
            dues.append(self._all_at + RETRY_S)
        for name in self._stale:
            known = grouping.groups.get(name)
            if known is not None and known.value is not None and known.stale_since is not None:
                own = known.value.staleness_grace
                dues.append(known.stale_since + (grace if own is None else own) - ahead)
        for known in grouping.timed.values():
            assert known.value is not None, "see Grouping.refresh"
            dues.append((known.value.started or 0.0) + (known.value.max_runtime or 0.0) - ahead)
        return max(min(dues, default=float("inf")), self._decided_at + self._gather)
