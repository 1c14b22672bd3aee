"""The scheduling cycle: a pure function from a snapshot, the groups and the policies to a plan.

Five actions, in this order, each on what the ones before decided:

1. **allocate**: waiting groups in order, each at its minimum, wholly or not at all; above the minimum pod by pod, once
   everybody's minimum had its turn. What fits only where pods are still leaving is *nominated*: the room is kept.
2. **consolidate**, **reclaim**, **preempt** (`making`): room is made for those that still wait.
3. **stale**: gangs that have run below their minimum for too long are evicted whole.

Everything is placed on a statement that the next decision sees, and rolled back in the end: the snapshot is as it was,
and the plan says what to do.

With `replan`, running groups that may be preempted give up their places first and are placed anew in the same order
(SRTF and its like: the order decides who runs). Who ends up where he was, stays; who does not, is evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from quartermaster.cluster.assignment import Assignment
from quartermaster.cluster.snapshot import Snapshot
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology
from quartermaster.scheduling.explaining import explain
from quartermaster.scheduling.gangs import Gangs, Shortfall
from quartermaster.scheduling.making import Making
from quartermaster.scheduling.placing import Patient, Placer, Rng
from quartermaster.scheduling.plan import (
    Evict,
    Explanation,
    GroupPlacement,
    Plan,
    Unschedulable,
    record,
    taken_from,
    without,
)
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.room import free_for
from quartermaster.scheduling.rules import ALL_ACTIONS, Action, Rules
from quartermaster.scheduling.stale import stale_gangs
from quartermaster.scheduling.standing import Standing
from quartermaster.scheduling.turns import GroupKey, Turns, needs_standing

ROOM_ACTIONS = (Action.CONSOLIDATE, Action.RECLAIM, Action.PREEMPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How a cycle decides.

    `group_key` replaces the order of groups inside a queue (default: priority, then age). `replan`: see the module.
    `migrate`: a running group may be placed elsewhere by a replan; otherwise it keeps its place if it keeps running.
    `explain`: without it, groups that wait are not in the plan (a simulator asks no reasons). `prices`: what a GPU of a
    model costs, for the work that victims lose (default 1).
    """

    placement: PlacementPolicy
    queues: QueueTree = field(default_factory=QueueTree.single)
    topologies: Mapping[str, Topology] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    actions: tuple[Action, ...] = ALL_ACTIONS
    budgets: tuple[DisruptionBudget, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    group_key: GroupKey | None = None
    replan: bool = False
    migrate: bool = True
    explain: bool = True


def cycle(
    snapshot: Snapshot,
    policies: Policies,
    *,
    groups: Sequence[PodGroup],
    running: Sequence[PodGroup] = (),
    now: float,
    rng: Rng,
    demand: Mapping[str, Mapping[str, int]] | None = None,
) -> Plan:
    """Decide on `groups`: those with pods that wait, and with `replan` also those that run.

    `demand` is what waits in all, per leaf queue and resource in integer units, for a caller that leaves out groups of
    which it knows that they fit nowhere; without it, the groups are all there is.

    `running` are the groups with pods on nodes, which may have to make room (a group may be in both). `now` is in
    virtual seconds. Raises `InvalidInput` when a group names a queue that is not there or not a leaf, or a topology or
    level that is not there.
    """
    state = snapshot.state
    for spec in {id(pod.spec): pod.spec for group in groups for pod in group.pods}.values():
        state.shape(spec)  # May widen the state, which must not happen while a statement is open.
    snapshot = Snapshot(state)
    with Statement(snapshot) as statement:
        return _Cycle(statement, policies, groups=groups, running=running, now=now, rng=rng, demand=demand).run()


class _Cycle:
    """One run of `cycle`, on its statement."""

    def __init__(
        self,
        statement: Statement,
        policies: Policies,
        *,
        groups: Sequence[PodGroup],
        running: Sequence[PodGroup],
        now: float,
        rng: Rng,
        demand: Mapping[str, Mapping[str, int]] | None,
    ) -> None:
        self._demand = demand
        self._statement = statement
        self._state: ClusterState = statement.state
        self._policies = policies
        self._groups, self._running, self._now, self._rng = groups, running, now, rng
        self._leaving = dict(self._state.leaving)
        self._placer = Placer(statement, policy=policies.placement, rng=rng)
        self._gangs = Gangs(self._placer, topologies=policies.topologies, leaving=self._leaving)
        self._later: _Later | None = None
        self._was: dict[str, Assignment] = {}
        self._short: dict[str, tuple[PodGroup, Shortfall | str]] = {}
        self._notes: dict[str, list[str]] = {}
        self._plan = Plan([node.name if node else "" for node in self._state.nodes])

    def run(self) -> Plan:
        policies, plan = self._policies, self._plan
        if policies.replan:
            self._was = self._displace()
        if any(self._leaving.values()):
            for queue, preemptible in {(group.queue, group.preemptible) for group in self._groups}:
                self._state.account(queue, preemptible=preemptible)  # So that both states know it by one number.
            self._later = _Later(self._state, self._leaving, policies, self._rng)
        makes_room = bool(self._running) and any(action in policies.actions for action in ROOM_ACTIONS)
        standing = None
        if makes_room or needs_standing(policies.queues, self._groups):
            standing = self._standing()
        if Action.ALLOCATE in policies.actions:
            self._allocate(standing)
        if makes_room and standing is not None and not policies.replan:
            self._make_room(standing)
        if Action.STALE in policies.actions:
            self._evict_stale()
        self._compare()
        if policies.explain:
            plan.unschedulable.extend(self._explain())
        return plan

    def _standing(self) -> Standing:
        return Standing(
            self._policies.queues,
            self._state,
            groups=self._groups,
            presence=Presence(self._state.pods, self._leaving),
            rules=self._policies.rules,
            demand=self._demand,
        )

    # ---- allocate

    def _allocate(self, standing: Standing | None) -> None:
        policies = self._policies
        turns = Turns(
            policies.queues,
            self._groups,
            standing=standing,
            presence=self._gangs.presence,
            group_key=policies.group_key,
            order=policies.rules.queue_order,
        )
        while (group := turns.pop()) is not None:
            refused = turns.gate(group)
            if refused is not None:
                self._short[group.name] = (group, str(refused))
                continue
            account = self._state.account(group.queue, preemptible=group.preemptible)
            short = self._place(group, account)
            if short is not None:
                self._short[group.name] = (group, short)
                continue
            if standing is not None:
                standing.settle((account,))
                turns.settle(group)
            if self._gangs.grows(group):
                turns.push(group)

    def _place(self, group: PodGroup, account: int) -> Shortfall | None:
        """Place the next part of a group: all that its minimum lacks, else one pod more."""
        placed = self._placer.placed
        start = len(placed.pods)
        root = group.root
        short: Shortfall | None = None
        if self._was and not self._policies.migrate and self._stay(group):
            return None
        if len(root.pods) == 1 and root.min != 0 and root.topology is None:
            short = self._place_single(root.pods[0], account)  # By far the most common group is spared what follows.
        elif not self._gangs.advance(group, account):
            short = self._gangs.short
        if short is not None:
            return None if self._later is not None and self._nominate(group, account) else short
        placement = taken_from(placed, start, group=group.name, account=account)
        self._plan.placements.append(placement)
        if self._later is not None:
            self._later.follow(placement)
        return None

    def _place_single(self, pod: Pod, account: int) -> Shortfall | None:
        if pod.name in self._state.pods or pod.gated:
            return None
        shape = self._state.shape(pod.spec)
        return None if self._placer.place((pod.name,), shape, account) else Shortfall(shape=shape, wanted=1, fitted=0)

    def _nominate(self, group: PodGroup, account: int) -> bool:
        """Place the next part of a group where pods are leaving; nothing else may have that room then."""
        assert self._later is not None, "asked only when pods are leaving"
        placement = self._later.place(group, account)
        if placement is None:
            return False
        self._plan.placements.append(placement)
        record(self._statement, placement)
        return True

    # ---- making room, and gangs that broke

    def _make_room(self, standing: Standing) -> None:
        statement = self._statement
        if self._later is not None:
            statement = self._later.statement
            standing.move_to(statement.state)
        policies = self._policies
        making = Making(
            statement,
            standing,
            queues=policies.queues,
            placement=policies.placement,
            topologies=policies.topologies,
            rules=policies.rules,
            budgets=policies.budgets,
            prices=policies.prices,
            busy=[self._state.pods[pod].row for pod in self._leaving],
            groups=self._groups,
            running=self._running,
            now=self._now,
            rng=self._rng,
            plan=self._plan,
        )
        for action in ROOM_ACTIONS:
            if action in policies.actions:
                making.run(action, [group for group in self._groups if standing.presence.waits(group)])
        self._notes = making.notes
        for name in making.placed:
            self._short.pop(name, None)
        self._short.update(making.withdrawn)

    def _evict_stale(self) -> None:
        plan, state = self._plan, self._state
        there: set[str] = {pod for placement in plan.placements for pod in placement.pods}
        gone = {evict.pod for evict in plan.evictions} - there
        for group, since in stale_gangs((*self._groups, *self._running), state=state, also=there, gone=gone):
            mark = since if since is not None else self._now
            plan.stale[group.name] = mark
            grace = group.staleness_grace if group.staleness_grace is not None else self._policies.rules.staleness_grace
            if self._now - mark < grace:
                continue
            for pod in group.pods:
                at = state.pods.get(pod.name)
                if at is not None and pod.name not in self._leaving and pod.name not in gone | there:
                    reason = f"gang below its minimum for {self._now - mark:g} s"
                    plan.evictions.append(Evict(pod.name, plan.nodes[at.row], reason, Action.STALE, group.name))

    # ---- replanning

    def _displace(self) -> dict[str, Assignment]:
        """Take the preemptible groups off their nodes; returns where their pods were."""
        there = self._state.pods
        running = [pod.name for group in self._groups if group.preemptible for pod in group.pods if pod.name in there]
        return {pod: self._statement.evict(pod) for pod in running}

    def _stay(self, group: PodGroup) -> bool:
        """Put a group back where it was if all of that is still free."""
        pods = [pod.name for pod in group.pods if pod.name in self._was]
        if not pods:
            return False
        mark = self._statement.checkpoint()
        for pod in pods:
            at = self._was[pod]
            shape = self._state.shapes[at.shape]
            if not free_for(self._state, shape, at):
                self._statement.rollback(mark)
                return False
            self._statement.place(pod, shape, at.row, at.devices, at.account)
        return True

    def _compare(self) -> None:
        """Turn what a replan changed into evictions, and drop the placements that changed nothing."""
        if not self._was:
            return
        plan, now = self._plan, self._state.pods
        kept = {pod for pod, before in self._was.items() if now.get(pod) == before}
        for pod, before in self._was.items():
            if pod not in kept:
                plan.evictions.append(Evict(pod, plan.nodes[before.row], "replanned"))
        if kept:
            plan.placements[:] = [p for p in (without(p, kept) for p in plan.placements) if p.pods]

    # ---- explaining

    def _explain(self) -> Iterable[Unschedulable]:
        known: dict[tuple[int, int, int], Explanation] = {}
        for group, short in self._short.values():
            notes = tuple(self._notes.get(group.name, ()))
            if isinstance(short, str):
                yield Unschedulable(group.name, Explanation(wanted=0, fitted=0, nodes=0, quota=short, notes=notes))
                continue
            key = (short.shape.id, short.wanted, short.fitted)
            if key not in known:
                known[key] = explain(self._state, short.shape, wanted=short.wanted, fitted=short.fitted)
            found = known[key]
            if short.domain or notes:
                found = replace(found, domain=short.domain, notes=notes)
            yield Unschedulable(group.name, found)


class _Later:
    """The cluster once all pods that are leaving have left: what is placed now is placed there too."""

    def __init__(self, state: ClusterState, leaving: Mapping[str, bool], policies: Policies, rng: Rng) -> None:
        later = state.snapshot().state
        busy = sorted({later.forget(pod).row for pod, frees in leaving.items() if frees})
        self.statement = Statement(Snapshot(later))
        rows = np.array(busy, dtype=np.int64)
        self._placer = Patient(self.statement, policy=policies.placement, rng=rng, busy=rows)
        self._gangs = Gangs(self._placer, topologies=policies.topologies, leaving=leaving)

    def follow(self, placement: GroupPlacement) -> None:
        """Place what was placed among those that are leaving; there is room for it here."""
        record(self.statement, placement)

    def place(self, group: PodGroup, account: int) -> GroupPlacement | None:
        """Place the next part of a group."""
        start = len(self._placer.placed.pods)
        if not self._gangs.advance(group, account):
            return None
        return taken_from(self._placer.placed, start, group=group.name, account=account, nominated=True)
