"""The scheduling cycle: a pure function from a snapshot, the groups and the policies to a plan.

These actions, in this order, each on what the ones before decided:

1. **allocate**: waiting groups in order, each at its minimum, wholly or not at all; above the minimum pod by pod, once
   everybody's minimum had its turn. What fits only where pods are still leaving is *nominated*: the room is kept.
   The first that finds no room gets it *reserved* for later, and is not delayed by those behind it (`reserving`).
2. **consolidate**, **reclaim**, **preempt** (`making`): room is made for those that still wait.
3. **stale**: gangs that have run below their minimum for too long are evicted whole.
4. **max-runtime**: so are groups that have run for as long as they may; they are queued again.

Everything is placed on a statement that the next decision sees, and rolled back in the end: the snapshot is as it was,
and the plan says what to do.

With `replan`, running groups that may be preempted give up their places first and are placed anew in the same order
(SRTF and its like: the order decides who runs). Who ends up where he was, stays; who does not, is evicted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.snapshot import Snapshot
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology
from quartermaster.scheduling.ending import evict_overdue, evict_stale
from quartermaster.scheduling.estimates import Estimates
from quartermaster.scheduling.explaining import explain
from quartermaster.scheduling.forecasting import forecast
from quartermaster.scheduling.gangs import Gangs, Shortfall
from quartermaster.scheduling.later import Later
from quartermaster.scheduling.making import Making
from quartermaster.scheduling.placing import Placer, Rng
from quartermaster.scheduling.plan import (
    RESERVED_IN,
    STARTS_IN,
    Explanation,
    GroupPlacement,
    Plan,
    Unschedulable,
    record,
    taken_from,
)
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.quota import Refusal
from quartermaster.scheduling.replanning import Replan
from quartermaster.scheduling.reserving import Ahead, sit
from quartermaster.scheduling.rules import ALL_ACTIONS, Action, Rules
from quartermaster.scheduling.standing import Standing
from quartermaster.scheduling.tidying import Tidying
from quartermaster.scheduling.turns import GroupKey, Turns, needs_standing

ROOM_ACTIONS = (Action.CONSOLIDATE, Action.RECLAIM, Action.PREEMPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How a cycle decides.

    `group_key` replaces the order of groups inside a queue (default: priority, then age). `replan`: see the module.
    `migrate`: a running group may be placed elsewhere by a replan; otherwise it keeps its place if it keeps running.
    `explain`: without it, groups that wait are not in the plan (a simulator asks no reasons). `prices`: what a GPU of a
    model costs, for the work that victims lose (default 1). `estimates`: how long groups run that do not say.
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
    estimates: Estimates = field(default_factory=Estimates)


def cycle(
    snapshot: Snapshot,
    policies: Policies,
    *,
    groups: Sequence[PodGroup],
    running: Sequence[PodGroup] = (),
    now: float,
    rng: Rng,
    demand: Mapping[str, Mapping[str, int]] | None = None,
    first: Collection[str] = (),
) -> Plan:
    """Decide on `groups`: those with pods that wait, and with `replan` also those that run.

    `demand` is what waits in all, per leaf queue and resource in integer units, for a caller that leaves out groups of
    which it knows that they fit nowhere; without it, the groups are all there is. `first` are the groups that the last
    plan calls `cut`: it is their turn to have victims looked for.

    `running` are the groups with pods on nodes, which may have to make room (a group may be in both). `now` is in
    virtual seconds. Raises `InvalidInput` when a group names a queue that is not there or not a leaf, or a topology or
    level that is not there.
    """
    state = snapshot.state
    specs = {id(pod.spec): pod.spec for group in groups for pod in group.pods}
    for spec in specs.values():
        state.shape(spec)  # May widen the state, which must not happen while a statement is open.
    shapes = {number: state.shape(spec) for number, spec in specs.items()}
    for queue, preemptible in dict.fromkeys((group.queue, group.preemptible) for group in groups):
        state.account(queue, preemptible=preemptible)  # Copies of the state have to number them alike.
    snapshot = Snapshot(state)
    with Statement(snapshot) as statement:
        plan = _Cycle(
            statement,
            policies,
            groups=groups,
            running=running,
            now=now,
            rng=rng,
            demand=demand,
            shapes=shapes,
            first=first,
        ).run()
    if policies.explain and policies.rules.forecast and plan.unschedulable:
        plan.starts.update(_starts(plan, state, policies, groups=groups, running=running, now=now, rng=rng))
        plan.unschedulable[:] = [_with_start(verdict, plan.starts, now) for verdict in plan.unschedulable]
    return plan


def _starts(
    plan: Plan,
    state: ClusterState,
    policies: Policies,
    *,
    groups: Sequence[PodGroup],
    running: Sequence[PodGroup],
    now: float,
    rng: Rng,
) -> Mapping[str, float | None]:
    """When the first of the groups that wait will start, by their order in the plan, which is that of their turns."""
    rules = policies.rules
    first = [verdict.group for verdict in plan.unschedulable[: rules.forecast_groups]]
    known = {group.name: group for group in (*running, *groups)}
    placed = {placement.group for placement in plan.placements}
    plain = replace(policies, explain=False, actions=(Action.ALLOCATE,))
    found = forecast(
        lambda at, waiting, there, time: cycle(at.borrow(), plain, groups=waiting, running=there, now=time, rng=rng),
        state.snapshot().state,
        waiting=[known[name] for name in first],
        running=[group for name, group in known.items() if group.started is not None or name in placed],
        plan=plan,
        estimates=policies.estimates,
        now=now,
        instants=rules.forecast,
    )
    return {name: found[name] for name in first}


def _with_start(verdict: Unschedulable, starts: Mapping[str, float | None], now: float) -> Unschedulable:
    start = starts.get(verdict.group)
    if start is None:
        return verdict
    why = verdict.explanation
    return Unschedulable(verdict.group, replace(why, notes=(*why.notes, f"{STARTS_IN} {start - now:g} s")))


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
        shapes: Mapping[int, Shape],
        first: Collection[str],
    ) -> None:
        self._first = first
        self._shapes = shapes
        self._unfit: dict[int, tuple[Shortfall, int]] = {}
        self._demand = demand
        self._statement = statement
        self._state: ClusterState = statement.state
        self._policies = policies
        self._groups, self._running, self._now, self._rng = groups, running, now, rng
        self._leaving = dict(self._state.leaving)
        self._placer = Placer(statement, policy=policies.placement, rng=rng)
        self._gangs = Gangs(self._placer, topologies=policies.topologies, leaving=self._leaving)
        self._later: Later | None = None
        self._ahead = Ahead(
            limit=0 if policies.replan else policies.rules.reservations,
            estimates=policies.estimates,
            placing=lambda at: Gangs(
                Placer(at, policy=policies.placement, rng=rng), topologies=policies.topologies, leaving=self._leaving
            ),
            leaving=self._leaving,
            now=now,
        )
        self._replan: Replan | None = None
        self._short: dict[str, tuple[PodGroup, Shortfall | Refusal | str]] = {}
        self._notes: dict[str, list[str]] = {}
        self._plan = Plan([node.name if node else "" for node in self._state.nodes])

    def run(self) -> Plan:
        policies, plan = self._policies, self._plan
        if policies.replan:
            self._replan = Replan(self._statement, self._groups)
        if any(self._leaving.values()):
            self._later = Later(
                self._state,
                self._leaving,
                placement=policies.placement,
                topologies=policies.topologies,
                rng=self._rng,
            )
        idle_moves = policies.rules.idle_moves
        makes_room = bool(self._running and (self._groups or idle_moves)) and any(
            action in policies.actions for action in ROOM_ACTIONS
        )
        standing = None
        if makes_room or needs_standing(policies.queues, self._groups):
            standing = self._standing()
        if Action.ALLOCATE in policies.actions:
            self._allocate(standing)
        if makes_room and standing is not None and not policies.replan:
            self._make_room(standing)
        everyone = (*self._groups, *self._running)
        if Action.STALE in policies.actions:
            evict_stale(plan, self._state, everyone, now=self._now, grace=policies.rules.staleness_grace)
        if Action.MAX_RUNTIME in policies.actions:
            evict_overdue(plan, self._state, everyone, now=self._now)
        plan.reservations.update(self._ahead.held)
        if self._replan is not None:
            self._replan.compare(plan)
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
            priority=self._aged if policies.rules.ageing else attrgetter("priority"),
            order=policies.rules.queue_order,
        )
        while (group := turns.pop()) is not None:
            refused = turns.gate(group)
            if refused is not None:
                self._short[group.name] = (group, refused)
                continue
            account = self._state.account(group.queue, preemptible=group.preemptible)
            short = self._place_beside(group, account, turns) if self._ahead else self._place(group, account, turns)
            if short is not None and not self._wait_for_room(group, account):
                self._short[group.name] = (group, short)
                continue
            if standing is not None:
                standing.settle((account,))
                turns.settle(group)
            if self._gangs.grows(group):
                turns.push(group)

    def _aged(self, group: PodGroup) -> float:
        return self._policies.rules.aged(group, self._now)

    def _wait_for_room(self, group: PodGroup, account: int) -> bool:
        """Reserve room for a group that found none; whether it could start where it had some reserved, after all."""
        if group.reserved is not None and self._policies.rules.reservations:
            mark = self._statement.checkpoint()
            placement = sit(self._statement, group.reserved.seats, group, account)
            if placement is not None and (not self._ahead or self._ahead.admits(group, placement)):
                self._adopt(placement, there=True)
                return True
            self._statement.rollback(mark)
        if self._ahead.wanted and not self._gangs.presence.satisfied(group.root):
            state = self._state if self._later is None else self._later.statement.state
            self._ahead.reserve(group, state, self._timed())
        return False

    def _timed(self) -> Iterable[tuple[PodGroup, float]]:
        """The groups on the cluster of which it is known since when they run, and may be known until when."""
        new = {placement.group for placement in self._plan.placements}
        seen: set[str] = set()
        for group in chain(self._groups, self._running):
            if self._policies.estimates.knows(group) and group.name not in seen:
                seen.add(group.name)
                since = self._now if group.started is None and group.name in new else group.started
                if since is not None:
                    yield group, since

    def _place_beside(self, group: PodGroup, account: int, turns: Turns) -> Shortfall | Refusal | str | None:
        """`_place`, where the group must not delay those that have room reserved."""
        ahead, plan, later = self._ahead, self._plan, self._later
        if ahead.barred(group):
            return ahead.bar(group)
        mark, later_mark = self._placer.mark(), None if later is None else later.placer.mark()

        def take_back() -> None:
            plan.placements.pop()
            self._placer.undo(mark)
            if later is not None and later_mark is not None:
                later.placer.undo(later_mark)

        short = self._place(group, account, turns)
        if short is not None or ahead.admits(group, plan.placements[-1]):
            return short
        first = plan.placements[-1]
        take_back()
        with ahead.kept_free(self._statement, *(() if later is None else (later.statement,))):
            beside = self._place(group, account, turns) is None
        if beside:
            if ahead.admits(group, plan.placements[-1]):
                return None
            take_back()
        if ahead.moves_for(group, first):
            self._adopt(first)
            return None
        return ahead.bar(group)

    def _adopt(self, placement: GroupPlacement, *, there: bool = False) -> None:
        """Take over a placement as it is (`there`: its pods are on the statement already)."""
        if not there:
            record(self._statement, placement)
        if self._later is not None:
            self._later.follow(placement)
        self._plan.placements.append(placement)

    def _place(self, group: PodGroup, account: int, turns: Turns) -> Shortfall | Refusal | str | None:
        """Place the next part of a group: all that its minimum lacks, else one pod more."""
        placed = self._placer.placed
        start = len(placed.pods)
        mark = self._placer.mark() if turns.weighs(group) else None
        root = group.root
        short: Shortfall | None = None
        if self._replan is not None and not self._policies.migrate and self._replan.stay(group):
            return None
        if len(root.pods) == 1 and root.min != 0 and root.topology is None:
            short = self._place_single(root.pods[0], account)  # By far the most common group is spared what follows.
        elif not self._gangs.advance(group, account):
            short = self._gangs.short
        if short is not None:
            return None if self._later is not None and self._nominate(group, account, turns) else short
        if mark is not None and (refused := turns.overdrawn(group, self._state, placed, start)) is not None:
            self._placer.undo(mark)
            return refused
        placement = taken_from(placed, start, group=group.name, account=account)
        self._plan.placements.append(placement)
        if self._later is not None:
            self._later.follow(placement)
        return None

    def _place_single(self, pod: Pod, account: int) -> Shortfall | None:
        if pod.name in self._state.pods or pod.gated:
            return None
        shape, state = self._shapes[id(pod.spec)], self._state
        known = self._unfit.get(shape.id)
        if known is not None and known[1] == state.returns and not state.affinity.terms:
            return known[0]  # It fitted nowhere, and since then nodes have only become fuller.
        if self._placer.place((pod.name,), shape, account):
            return None
        short = Shortfall(shape=shape, wanted=1, fitted=0) if known is None else known[0]
        self._unfit[shape.id] = (short, state.returns)
        return short

    def _nominate(self, group: PodGroup, account: int, turns: Turns) -> bool:
        """Place the next part of a group where pods are leaving; nothing else may have that room then."""
        assert self._later is not None, "asked only when pods are leaving"
        placement = self._later.place(group, account, turns)
        if placement is None:
            return False
        self._plan.placements.append(placement)
        record(self._statement, placement)
        return True

    # ---- making room

    def _make_room(self, standing: Standing) -> None:
        policies, statement = self._policies, self._statement
        tidies = policies.rules.idle_moves and Action.CONSOLIDATE in policies.actions and not self._short
        if not tidies and not any(map(standing.presence.waits, self._groups)):
            return  # the books below are of everything that runs
        if self._later is not None:
            statement = self._later.statement
            standing.move_to(statement.state)
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
            first=self._first,
        )
        for action in ROOM_ACTIONS:
            if action in policies.actions:
                waiting = [group for group in self._groups if standing.presence.waits(group)]
                if self._ahead:
                    making.run(action, [group for group in waiting if group.name in self._ahead.held])
                    waiting = [group for group in waiting if group.name not in self._ahead.held]
                    self._ahead.drop(making.placed)
                with self._ahead.kept_free(statement):
                    making.run(action, waiting)
        if tidies:
            Tidying(making, state=statement.state).run()
        self._notes = making.notes
        for name in making.placed:
            self._short.pop(name, None)
        self._short.update(making.withdrawn)

    # ---- explaining

    def _explain(self) -> Iterable[Unschedulable]:
        known: dict[tuple[int, int, int], Explanation] = {}
        plain: dict[int, Explanation] = {}
        for group, short in self._short.values():
            if id(short) in plain and group.name not in self._notes and group.name not in self._ahead.held:
                yield Unschedulable(group.name, plain[id(short)])
                continue
            notes = tuple(self._notes.get(group.name, ()))
            if (kept := self._ahead.held.get(group.name)) is not None:
                notes += (f"{RESERVED_IN} {kept.start - self._now:g} s on {_few(kept.nodes)}",)
            if isinstance(short, Refusal | str):
                rule = short.reason if isinstance(short, Refusal) else None
                why = Explanation(wanted=0, fitted=0, nodes=0, quota=str(short), rule=rule, notes=notes)
                yield Unschedulable(group.name, why)
                continue
            key = (short.shape.id, short.wanted, short.fitted)
            if key not in known:
                known[key] = explain(self._state, short.shape, wanted=short.wanted, fitted=short.fitted)
            found = known[key]
            if short.domain or notes:
                found = replace(found, domain=short.domain, notes=notes)
            else:
                plain[id(short)] = found
            yield Unschedulable(group.name, found)


def _few(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
