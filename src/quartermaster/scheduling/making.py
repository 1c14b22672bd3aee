"""Making room for groups that wait: consolidate, reclaim and preempt are one procedure under three laws.

For each waiting group, in order of turns: may it ask at all (`Law.refusal`)? Is there enough in sum, and would it fit
if everybody who may go were gone? Only then the search (`room.Room`), which ends with nobody evicted who could be
spared. Victims that find another place move there. A group that could not be helped is remembered by its signature, so
that its like is not searched for again in the same cycle.

What is decided stays on the statement: the next group sees it. New places are nominations, since victims have yet to
leave.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from quartermaster.cluster.statement import Statement
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology
from quartermaster.model.units import CPU, GPU, MEMORY
from quartermaster.scheduling.gangs import Gangs
from quartermaster.scheduling.laws import Budgets, Consolidate, Law, Preempt, Reclaim
from quartermaster.scheduling.placing import Placer, Rng
from quartermaster.scheduling.plan import Evict, GroupPlacement, Plan, taken_from
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.room import Budget, Room, Taken
from quartermaster.scheduling.rules import Action, Rules
from quartermaster.scheduling.standing import Standing
from quartermaster.scheduling.turns import Ranking, Turns
from quartermaster.scheduling.victims import Victims
from quartermaster.scheduling.view import ClassView

LAWS: Mapping[Action, type[Law]] = {
    Action.CONSOLIDATE: Consolidate,
    Action.RECLAIM: Reclaim,
    Action.PREEMPT: Preempt,
}


class Making:
    """Makes room in one cycle. `placed` are the groups helped, `notes` say per group why nobody made room for it."""

    def __init__(
        self,
        statement: Statement,
        standing: Standing,
        *,
        queues: QueueTree,
        placement: PlacementPolicy,
        topologies: Mapping[str, Topology],
        rules: Rules,
        budgets: Sequence[DisruptionBudget],
        prices: Mapping[str, float],
        running: Sequence[PodGroup],
        now: float,
        rng: Rng,
        plan: Plan,
    ) -> None:
        self.placed: set[str] = set()
        self.notes: dict[str, list[str]] = {}
        self._statement, self._state, self._standing = statement, statement.state, standing
        self._queues, self._placement, self._topologies, self._rules = queues, placement, topologies, rules
        self._now, self._rng, self._plan = now, rng, plan
        self._leaving = standing.presence.leaving
        self._spent = {pod for placement_ in plan.placements for pod in placement_.pods} | set(self._leaving)
        self._evicted: set[str] = set()
        self._budgets = Budgets(budgets, self._state)
        self._budget = Budget(rules.search_budget)
        self._failed: dict[Hashable, str] = {}
        self._victims = Victims(
            running,
            state=self._state,
            standing=standing,
            ranking=Ranking(standing, order=rules.queue_order),
            rules=rules,
            now=now,
            prices=prices,
            spent=self._spent,
        )

    def run(self, action: Action, waiting: Sequence[PodGroup]) -> None:
        """Make room for the groups, in order of turns, under the law of `action`."""
        wanting = [group for group in waiting if not any(pod.name in self._evicted for pod in group.pods)]
        turns = Turns(self._queues, wanting, standing=self._standing, order=self._rules.queue_order)
        while (group := turns.pop()) is not None:
            if any(pod.name in self._evicted for pod in group.pods):
                continue
            note = self._help(group, action)
            if note is None:
                self.placed.add(group.name)
                turns.settle(group)
            elif note:
                self.notes.setdefault(group.name, []).append(f"{action.value}: {note}")

    def _help(self, group: PodGroup, action: Action) -> str | None:
        """Make room for one group; None when it was placed, else why not (empty: not worth saying)."""
        if not group.may_preempt:
            return "it never preempts"
        since = max(group.created, group.last_evicted if group.last_evicted is not None else group.created)
        if group.preemption_delay and self._now - since < group.preemption_delay:
            return f"it may ask in {group.preemption_delay - (self._now - since):g} s"
        law = LAWS[action](
            group,
            standing=self._standing,
            victims=self._victims,
            budgets=self._budgets,
            rules=self._rules,
            now=self._now,
        )
        refused = law.refusal()
        if refused is not None:
            return refused
        signature = self._signature(group, action, law)
        known = self._failed.get(signature)
        if known is not None:
            return known
        room = Room(
            self._statement,
            policy=self._placement,
            rng=self._rng,
            law=law,
            victims=self._victims,
            budget=self._budget,
            rehouse=self._rehouse if action is Action.CONSOLIDATE else None,
            max_moves=self._rules.max_moves,
        )
        start = self._statement.checkpoint()
        note = self._search(group, room)
        if note is None:
            self._commit(group, room, action)
            return None
        self._statement.rollback(start)
        if room.cut:
            return f"the search was cut after {self._rules.search_budget} tries; it goes on in the next cycle"
        self._failed[signature] = note
        return note

    def _signature(self, group: PodGroup, action: Action, law: Law) -> Hashable:
        """Groups with equal signatures meet the same fate until somebody is helped."""
        specs = tuple(self._standing.presence.next_part(group))
        return (
            action,
            group.queue,
            group.priority,
            group.preemptible,
            specs,
            _constraints(group),
            len(self.placed),
            law.action,
        )

    # ---- the search

    def _search(self, group: PodGroup, room: Room) -> str | None:
        account = self._state.account(group.queue, preemptible=group.preemptible)
        mark = room.mark()
        if not self._open_quota(group, room):
            room.undo(mark)
            return "its queue's limit leaves no room"
        if not room.taken:
            short = room.sums_up(self._free())
            if short is not None:
                return short
            several = len(group.root.pods) != 1 and room.law.action is not Action.CONSOLIDATE
            if several and not self._fits_when_all_left(group, room, account):
                return "it would not fit even without all that may be evicted"
        gangs = self._gangs(room)
        if not gangs.advance(group, account):
            room.undo(mark)
            return "no victims make room for it"
        room.trim(lambda plain: self._gangs(plain).advance(group, account) and not self._refused(group))
        if self._rules.consolidating and room.law.action is not Action.CONSOLIDATE:
            for entry in room.taken[::-1]:
                room.rehouse(entry, self._rehouse)
        return None

    def _gangs(self, placer: Placer) -> Gangs:
        return Gangs(placer, topologies=self._topologies, leaving=self._leaving)

    def _refused(self, group: PodGroup) -> bool:
        """Whether a limit is in the way, given what was taken. What is placed already is not charged yet."""
        quota, asked = self._standing.quota, self._asked
        return quota.gate(group.queue, asked, preemptible=group.preemptible) is not None

    def _open_quota(self, group: PodGroup, room: Room) -> bool:
        """Take victims until the limits of the group's queues let it in; whether they do."""
        self._asked = room.law.asked
        if not self._refused(group):
            return True
        if room.law.action is Action.CONSOLIDATE:
            return False
        for unit in room.law.units():
            room.take(unit)
            if not self._refused(group):
                return True
        return False

    def _fits_when_all_left(self, group: PodGroup, room: Room, account: int) -> bool:
        mark = room.mark()
        room.take_all()
        fits = self._gangs(Placer(self._statement, policy=self._placement, rng=self._rng)).advance(group, account)
        room.undo(mark)
        return fits

    def _free(self) -> dict[str, int]:
        """What is free on all nodes together."""
        state = self._state
        view = ClassView(state, state.live_classes())
        counts = [state.count(number) for number in view.ids.tolist()]
        if not counts:
            return {CPU: 0, MEMORY: 0, GPU: 0}
        cpu, memory = (
            sum(max(0, int(free)) * n for free, n in zip(view.free[:, c], counts, strict=True)) for c in (0, 1)
        )
        gpu = sum(int(free) * n for free, n in zip(view.devices.clip(min=0).sum(axis=1), counts, strict=True))
        return {CPU: cpu, MEMORY: memory, GPU: gpu}

    def _rehouse(self, room: Room, entry: Taken) -> bool:
        """Find another place for all pods of a victim."""
        movers, group = room.movers, entry.unit.group
        mark, start = room.mark(), len(movers.placed.pods)
        gangs, account = self._gangs(movers), entry.places[0].account
        found = self._standing.presence.satisfied(group.root) or gangs.start(group, account)
        while found and len(movers.placed.pods) - start < len(entry.pods):
            found = gangs.grow(group, account)
        if found and set(movers.placed.pods[start:]) == set(entry.pods):
            return True
        self._statement.rollback(mark.statement)
        movers.placed.truncate(start)
        return False

    # ---- making it so

    def _commit(self, group: PodGroup, room: Room, action: Action) -> None:
        plan, quota = self._plan, self._standing.quota
        account = self._state.account(group.queue, preemptible=group.preemptible)
        moved = {id(entry) for entry in room.moved}
        accounts = {account}
        for entry in room.taken:
            unit = entry.unit
            if id(entry) not in moved:
                quota.add(unit.group.queue, entry.amounts, preemptible=unit.group.preemptible)
            accounts.add(entry.places[0].account)
            reason = _reason(action, group, unit.group, moves=id(entry) in moved)
            for pod, at in zip(entry.pods, entry.places, strict=True):
                plan.evictions.append(Evict(pod, plan.nodes[at.row], reason, action, group.name))
            self._evicted.update(entry.pods)
            self._spent.update(entry.pods)
        state = self._state
        for entry in room.moved:
            places = [state.pods[pod] for pod in entry.pods]
            plan.placements.append(
                GroupPlacement(
                    entry.unit.group.name,
                    places[0].account,
                    entry.pods,
                    [state.shapes[at.shape] for at in places],
                    [at.row for at in places],
                    [at.devices for at in places],
                    nominated=True,
                )
            )
        placement = taken_from(room.placed, 0, group=group.name, account=account, nominated=True)
        if placement.pods:
            plan.placements.append(placement)
            self._spent.update(placement.pods)
        self._standing.settle(accounts)


def _reason(action: Action, group: PodGroup, victim: PodGroup, *, moves: bool) -> str:
    if action is Action.PREEMPT:
        why = f"preempted by '{group.name}' of priority {group.priority:g} (own {victim.priority:g})"
    elif action is Action.RECLAIM:
        why = f"reclaimed from queue '{victim.queue}' for '{group.name}' in queue '{group.queue}'"
    else:
        why = f"moved so that '{group.name}' can start"
    return f"{why}; it moves to another node" if moves and action is not Action.CONSOLIDATE else why


def _constraints(group: PodGroup) -> Hashable:
    """What of a group's tree decides where it fits, beside its pods."""
    if len(group.root.pods) == 1:
        return group.root.topology
    parts: list[Hashable] = []
    todo = [group.root]
    while todo:
        part = todo.pop()
        parts.append((part.topology, part.minimum, part.desired))
        todo.extend(part.children)
    return tuple(parts)
