"""The scheduler of a cluster, as thin as it can be: mirrors -> state -> one cycle per batch of changes -> effects.

The state is kept by deltas as nodes and pods change. A binding that was sent counts as done until its event comes or
the API refuses it, so the next cycle never gives the same room twice. Pods of other schedulers are counted and never
moved. It has one queue and no topologies: queues and groups of our own kinds come with the control plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from quartermaster.api import nodes as api_nodes
from quartermaster.api import pods as api_pods
from quartermaster.cluster.state import ClusterState
from quartermaster.kube.api import STRATEGIC, Api, Json, Refused
from quartermaster.kube.clock import Clock
from quartermaster.kube.reflector import Reflector
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.catalogue import placement_policy
from quartermaster.scheduling.policies.fragmentation import Mix

NAMES = frozenset(("quartermaster", "default-scheduler"))
"""Whose pods are ours in a cluster that has no other scheduler."""

QUEUE = "default"
LOST = "lost devices"
"""The account of devices that are broken: no queue has it, so nobody pays and nobody is asked to leave."""

GATHER_S = 0.02
"""So that the pods of a Job are decided on together."""

EXPECTED = Mix.of([PodSpec(cpu=8000 * count, gpu=GpuRequest(count=count)) for count in (1, 1, 2, 4, 8)])
"""What nodes are kept fit for while nothing is known of the workload: jobs of 1 to 8 GPUs, small ones more often."""


@dataclass(slots=True)
class Known:
    """A pod as it is known: the object, what it asks for, and where it is put down in the state."""

    value: Json
    spec: PodSpec
    assumed: bool = False
    """A binding was sent and not yet seen."""
    since: float = field(default=0.0)


class Scheduler:
    """Runs until cancelled. `gather`: seconds for which changes are gathered before a cycle."""

    def __init__(
        self,
        api: Api,
        *,
        clock: Clock,
        seed: int = 0,
        names: frozenset[str] = NAMES,
        policies: Policies | None = None,
        gather: float = GATHER_S,
    ) -> None:
        self._api, self._clock, self._names, self._gather = api, clock, names, gather
        self._policies = policies or Policies(placement=placement_policy("quartermaster", EXPECTED))
        self._rng = np.random.default_rng(seed)
        self._nodes: Reflector[Json] = Reflector(api, "/api/v1/nodes", self._node_changed)
        self._pods: Reflector[Json] = Reflector(api, "/api/v1/pods", self._pod_changed)
        self._state = ClusterState()
        self._known: dict[str, Known] = {}
        self._stray: dict[str, set[str]] = {}
        self._stale: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.cycles = 0

    async def run(self) -> None:
        """Watch and decide until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in (self._nodes, self._pods):
                group.create_task(mirror.run())
                await mirror.synced.wait()
            while True:
                await self._changed.wait()
                await self._clock.until(self._clock() + self._gather)
                self._changed.clear()
                await self.decide()

    # ---- the state

    def _node_changed(self, before: Json | None, after: Json | None) -> None:
        if after is None:
            assert before is not None
            name = before["metadata"]["name"]
            if name in self._state.rows:
                lost = self._state.remove_node(name)
                self._stray[name] = self._stray.get(name, set()) | set(lost)
        else:
            name = after["metadata"]["name"]
            node, lost_devices = api_nodes.node_from(after), api_nodes.lost_devices(after)
            known = name in self._state.rows
            if (
                before is not None
                and known
                and (node, lost_devices)
                == (
                    api_nodes.node_from(before),
                    api_nodes.lost_devices(before),
                )
            ):
                return
            self._forget(_lost(name))
            if known:
                if node.gpus != self._state.node(self._state.row(name)).gpus:
                    self._empty(name)
                self._state.update_node(node)
            else:
                self._state.add_nodes([node])
            if lost_devices:  # nobody gets them, whoever still has them
                spec = PodSpec(gpu=GpuRequest(count=len(lost_devices)))
                self._state.assume(_lost(name), spec, name, sorted(lost_devices), queue=LOST)
            for pod in sorted(self._stray.pop(name, ())):
                self._place(pod)
        self._changed.set()

    def _empty(self, name: str) -> None:
        """A node whose devices change is emptied first: its pods are put down again on what is there then."""
        row = self._state.row(name)
        there = [pod for pod, assignment in self._state.pods.items() if assignment.row == row]
        for pod in there:
            self._state.forget(pod)
        self._stray.setdefault(name, set()).update(there)

    def _pod_changed(self, before: Json | None, after: Json | None) -> None:
        value = after or before
        assert value is not None
        name = api_pods.name_of(value)
        known = self._known.pop(name, None)
        if after is None or api_pods.ended(after):
            self._forget(name)
            if after is None:
                self._changed.set()
                return
        try:
            spec = api_pods.spec_from(after)
        except InvalidInput:
            return  # such a pod cannot be decided on; admission is to refuse it
        same = known is not None and known.value["metadata"]["uid"] == after["metadata"]["uid"]
        if known is not None and not same:
            self._forget(name)
        assumed = same and known is not None and known.assumed and not api_pods.node_of(after)
        self._known[name] = Known(after, spec, assumed, known.since if same and known else self._clock())
        if api_pods.node_of(after) and not api_pods.ended(after):
            self._place(name)
        if not same or _matters(before, after):
            self._changed.set()

    def _place(self, name: str) -> None:
        """Put a bound pod down where its object says."""
        known = self._known.get(name)
        if known is None or api_pods.ended(known.value):
            return
        node = api_pods.node_of(known.value)
        if node not in self._state.rows:
            self._stray.setdefault(node, set()).add(name)
            return
        there = self._state.pods.get(name)
        if there is None or there.row != self._state.row(node):
            self._forget(name)
            self._state.assume(name, known.spec, node, self._devices(known, node), queue=QUEUE)
        if api_pods.leaving(known.value) and name not in self._state.leaving:
            self._state.leave(name)

    def _devices(self, known: Known, node: str) -> tuple[int, ...]:
        """The devices that the pod says, else those with most room: it was bound by somebody who does not say."""
        count = known.spec.gpu.count
        have = self._state.node(self._state.row(node)).gpus
        said = api_pods.devices_of(known.value)
        if said is not None and len(set(said)) == count and all(device < have for device in said):
            return said
        if count > have:
            known.spec = _without_gpus(known.spec)  # more than is there: its devices are lost already
            return ()
        free = self._state.gpu_free[self._state.row(node), :have]
        return tuple(sorted(np.argsort(-free, kind="stable")[:count].tolist()))

    def _forget(self, name: str) -> None:
        if name in self._state.pods:
            self._state.forget(name)
        for stray in self._stray.values():
            stray.discard(name)

    # ---- deciding

    async def decide(self) -> None:
        """One cycle, and what follows from it."""
        waiting, running = self._groups()
        if not waiting:
            return
        self.cycles += 1
        plan = cycle(
            self._state.borrow(),
            self._policies,
            groups=waiting,
            running=running,
            now=self._clock(),
            rng=self._rng,
        )
        self._stale = plan.stale
        await self._carry_out(plan, {group.name: group for group in waiting})

    def _groups(self) -> tuple[list[PodGroup], list[PodGroup]]:
        members: dict[str, list[str]] = {}
        sizes: dict[str, int] = {}
        for name, known in self._known.items():
            if api_pods.scheduler_of(known.value) not in self._names:
                continue
            group = api_pods.group_of(known.value)
            if group is None and api_pods.ended(known.value):
                continue
            title, size = group or (name, 1)
            members.setdefault(title, []).append(name)
            sizes[title] = max(size, sizes.get(title, 1))
        waiting, running = [], []
        for title, pods in members.items():
            if len(pods) < sizes[title]:
                continue  # its other pods are still to come
            group_ = self._group(title, pods, sizes[title])
            if any(pod.name in self._state.pods for pod in group_.pods):
                running.append(group_)
            if any(pod.name not in self._state.pods and not pod.gated for pod in group_.pods):
                waiting.append(group_)
        return waiting, running

    def _group(self, title: str, names: list[str], size: int) -> PodGroup:
        known = [self._known[name] for name in names]
        done = sum(api_pods.ended(item.value) for item in known)
        first = min(known, key=lambda item: api_pods.created(item.value)).value
        pods = tuple(
            Pod(
                name,
                item.spec,
                priority=api_pods.priority_of(item.value),
                gated=api_pods.gated(item.value)
                or api_pods.ended(item.value)
                or (api_pods.leaving(item.value) and not api_pods.node_of(item.value)),
            )
            for name, item in sorted(zip(names, known, strict=True))
        )
        started = [item.since for name, item in zip(names, known, strict=True) if name in self._state.pods]
        return PodGroup(
            name=title,
            queue=QUEUE,
            root=SubGroup(pods=pods, min=max(0, min(size, len(pods)) - done)),
            priority=api_pods.priority_of(first),
            may_preempt=api_pods.may_preempt(first),
            created=api_pods.created(first),
            started=min(started, default=None),
            stale_since=self._stale.get(title),
        )

    # ---- effects

    async def _carry_out(self, plan: Plan, groups: dict[str, PodGroup]) -> None:
        for evict in plan.evictions:
            if await self._try("eviction", api_pods.eviction, evict.pod) and evict.pod in self._state.pods:
                self._state.leave(evict.pod)
        binds = list(plan.binds)
        for bind in binds:
            # All of a plan is put down before the first word to the API: a cycle never sees half of it.
            known = self._known[bind.pod]
            self._state.assume(bind.pod, known.spec, bind.node, bind.devices, queue=QUEUE)
            known.assumed = True
        for bind in binds:
            bound = await self._try(
                "binding", partial(api_pods.binding, node=bind.node, devices=bind.devices), bind.pod
            )
            if not bound:
                self._undo(bind.pod)
        for group, explanation in plan.unschedulable:
            for pod in groups[group].pods:
                await self._explain(pod.name, str(explanation))

    async def _try(self, what: str, body: Callable[[Json], Json], name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            return False
        namespace, _, pod = name.partition("/")
        try:
            await self._api.send("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/{what}", body(known.value))
        except Refused:
            return False  # gone, changed, or its budget is spent: the next cycle sees it as it is then
        return True

    def _undo(self, name: str) -> None:
        known = self._known.get(name)
        if known is not None and known.assumed:
            known.assumed = False
            self._forget(name)
            self._changed.set()

    async def _explain(self, name: str, message: str) -> None:
        known = self._known.get(name)
        if known is None or name in self._state.pods or api_pods.unschedulable_reason(known.value) == message:
            return
        namespace, _, pod = name.partition("/")
        stamp = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/status"
        try:
            await self._api.send("PATCH", path, api_pods.unschedulable(message, stamp), media=STRATEGIC)
        except Refused as wrong:
            if wrong.code not in (404, 409):
                raise


def _matters(before: Json | None, after: Json) -> bool:
    """Whether a change of a pod can change a decision: not what the kubelet reports while it starts."""
    if before is None:
        return True
    tests: tuple[Callable[[Json], object], ...] = (
        api_pods.node_of,
        api_pods.ended,
        api_pods.leaving,
        api_pods.gated,
        api_pods.group_of,
        lambda value: value["metadata"].get("labels"),
    )
    return any(test(before) != test(after) for test in tests)


def _lost(node: str) -> str:
    """The name under which a node's broken devices are put down; no pod has it."""
    return f"!{node}"


def _without_gpus(spec: PodSpec) -> PodSpec:
    return replace(spec, gpu=GpuRequest())
