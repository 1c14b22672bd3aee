"""Making room for groups that wait: consolidate, reclaim and preempt are one procedure under three laws.

For each waiting group, in order of turns: may it ask at all (`Law.refusal`)? Is there enough in sum, and would it fit
if everybody who may go were gone? Only then the search (`room.Room`), which ends with nobody evicted who could be
spared. Victims that find another place move there. A group that could not be helped is remembered by its signature, so
that its like is not searched for again in the same cycle.

What is decided stays on the statement: the next group sees it. New places are nominations where victims have yet to
leave (`busy` nodes).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from quartermaster.cluster.statement import Statement
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology
from quartermaster.model.units import CPU, GPU, MEMORY
from quartermaster.scheduling.covered import Covered
from quartermaster.scheduling.gangs import Gangs
from quartermaster.scheduling.laws import Budgets, Consolidate, Law, Preempt, Reclaim
from quartermaster.scheduling.placing import Placer, Rng
from quartermaster.scheduling.plan import Evict, GroupPlacement, Plan, charged, taken_from, without
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.room import Budget, Room, Taken
from quartermaster.scheduling.rules import Action, Rules
from quartermaster.scheduling.standing import Standing
from quartermaster.scheduling.turns import Ranking, Turns
from quartermaster.scheduling.victims import Unit, Victims
from quartermaster.scheduling.view import ClassView

GALLOP = 4
"""By how much more of the victims are looked at when those looked at so far were not enough."""

CHOOSY = 256
"""Up to so many units, the smallest number that does is looked for where it decides between domains."""

LAWS: Mapping[Action, type[Law]] = {
    Action.CONSOLIDATE: Consolidate,
    Action.RECLAIM: Reclaim,
    Action.PREEMPT: Preempt,
}


class Making:
    """Makes room in one cycle.

    `placed` are the groups helped, `notes` say per group why nobody made room for it, `withdrawn` are the groups that
    lost the place which this cycle had given them.
    """

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
        busy: Iterable[int],
        groups: Sequence[PodGroup],
        running: Sequence[PodGroup],
        now: float,
        rng: Rng,
        plan: Plan,
        first: Collection[str] = (),
    ) -> None:
        self.placed: set[str] = set()
        self._notes: dict[str, dict[str, list[Action]]] = {}
        self.withdrawn: dict[str, tuple[PodGroup, str]] = {}
        self.statement, self._state, self.standing = statement, statement.state, standing
        self._queues, self.placement, self.topologies, self.rules = queues, placement, topologies, rules
        self.now, self.rng, self.plan = now, rng, plan
        self._leaving = standing.presence.leaving
        self.spent = set(self._leaving)
        self.busy = set(busy)
        self._fresh = {pod for made in plan.placements for pod in made.pods}
        self._evicted: set[str] = set()
        self.budgets = Budgets(budgets, self._state)
        self._first = set(first)
        self._budget = Budget(rules.search_budget)
        self._failed: dict[Hashable, str] = {}
        here = {group.name for group in running}
        new = {made.group for made in plan.placements} - here
        there = [*running, *(group for group in groups if group.name in new)]
        self.victims = Victims(
            there,
            state=self._state,
            standing=standing,
            ranking=Ranking(standing, order=rules.queue_order),
            rules=rules,
            now=now,
            prices=prices,
            spent=self.spent,
        )
        portions = self.victims.portions
        self._covered = Covered(there, standing=standing, portions=portions) if rules.steady else None

    @property
    def notes(self) -> dict[str, list[str]]:
        """Why nobody made room, by group: one sentence per reason, with all the actions that it stopped."""
        return {
            name: [f"{' and '.join(', '.join(actions).rsplit(', ', 1))}: {note}" for note, actions in notes.items()]
            for name, notes in self._notes.items()
        }

    def run(self, action: Action, waiting: Sequence[PodGroup]) -> None:
        """Make room for the groups, in order of turns, under the law of `action`."""
        wanting = [group for group in waiting if not any(pod.name in self._evicted for pod in group.pods)]
        for part in ([g for g in wanting if g.name in self._first], [g for g in wanting if g.name not in self._first]):
            if part:
                self._serve(action, part)

    def _serve(self, action: Action, wanting: Sequence[PodGroup]) -> None:
        standing = self.standing
        turns = Turns(
            self._queues, wanting, standing=standing, presence=standing.presence, order=self.rules.queue_order
        )
        while (group := turns.pop()) is not None:
            if any(pod.name in self._evicted for pod in group.pods):
                continue
            note = self._help(group, action)
            if note is None:
                self.placed.add(group.name)
                turns.settle(group)
            elif note:
                self._notes.setdefault(group.name, {}).setdefault(note, []).append(action)

    def _help(self, group: PodGroup, action: Action) -> str | None:
        """Make room for one group; None when it was placed, else why not (empty: not worth saying)."""
        if not group.may_preempt:
            return "it never has others evicted or moved (may-preempt is false)"
        since = max(group.created, group.last_evicted if group.last_evicted is not None else group.created)
        if group.preemption_delay and self.now - since < group.preemption_delay:
            return f"its preemption delay ends in {group.preemption_delay - (self.now - since):g} s"
        law = LAWS[action](
            group,
            standing=self.standing,
            victims=self.victims,
            covered=self._covered,
            budgets=self.budgets,
            rules=self.rules,
            now=self.now,
        )
        refused = law.refusal()
        if refused is not None:
            return refused
        signature = self._signature(group, action)
        known = self._failed.get(signature)
        if known is not None:
            return known
        budget = self._budget.part(self.rules.search_budget // 4)
        law.weigh()
        room = Room(
            self.statement,
            policy=self.placement,
            rng=self.rng,
            law=law,
            victims=self.victims,
            budget=budget,
            max_moves=self.rules.max_moves,
        )
        start = self._start = room.mark()
        note = self._search(group, room)
        if note is None:
            note = self._overdrawn(group, room)
        if note is None:
            self._commit(group, room, action)
            return None
        room.undo(start)
        if room.cut:
            if group.name not in self.plan.cut:
                self.plan.cut.append(group.name)
            return f"the search was cut after {budget.spent} tries and goes on in the next cycle"
        self._failed[signature] = note
        return note

    def _signature(self, group: PodGroup, action: Action) -> Hashable:
        """Groups with equal signatures meet the same fate until somebody is helped."""
        specs = tuple(self.standing.presence.next_part(group))
        return (
            action,
            group.queue,
            group.priority,
            group.preemptible,
            specs,
            _constraints(group),
            len(self.placed),
        )

    def _overdrawn(self, group: PodGroup, room: Room) -> str | None:
        """Why the law or a limit forbids what was placed, where that is more than was asked for (`Turns.overdrawn`)."""
        actual = charged(self._state, room.placed)
        if all(amount <= room.law.asked.get(name, 0) for name, amount in actual.items()):
            return None
        refused = room.law.refusal(actual)
        return refused if refused is not None or not self._refused(group, actual) else "a limit leaves no room for it"

    # ---- the search

    def _search(self, group: PodGroup, room: Room) -> str | None:
        account = self._state.account(group.queue, preemptible=group.preemptible)
        moves = room.law.action is Action.CONSOLIDATE
        if not self._open_quota(group, room):
            return "" if moves else "without all that may be evicted, the limit would still be passed"
        first = 1
        if not room.taken:
            needed = room.sums_up(self._free(), moves=moves)
            if isinstance(needed, str):
                return needed
            first = needed
        if not self._gallop(group, room, account, first=first):
            if self._why:
                return self._why
            return "no moves make room for it" if moves else "nothing that may be evicted makes room for it"
        if not moves:
            self._trim(group, room, account)
            if self.rules.consolidating:
                self._rehouse_victims(room)
        return None

    def _gallop(self, group: PodGroup, room: Room, account: int, *, first: int) -> bool:
        """Try with the `first` units, then with four times as many, and so on: the last are touched only if need be.

        Where several domains, or several ways to move, could do, the smallest number of units decides: it is searched
        for between the last that did not do and the first that did.
        """
        limit, failed = first, 0
        self._why = ""
        while not self._attempt(group, room, account, limit=limit):
            if room.cut or room.exhausted(limit):
                return False
            if failed and not self._could_fit(group, room, account):
                self._why = "without all that may be evicted, it would still not fit"
                return False
            failed, limit = limit, limit * GALLOP
        good = limit
        choosy = room.law.action is Action.CONSOLIDATE or _has_topology(group)
        while choosy and good - failed > 1 and good <= CHOOSY:
            room.undo(self._start)
            middle = (failed + good) // 2
            if self._attempt(group, room, account, limit=middle):
                good = middle
            else:
                failed = middle
                if middle + 1 == good:
                    break
        if good != room.limit or not room.placed.pods:
            room.undo(self._start)
            return self._attempt(group, room, account, limit=good)
        return True

    def _attempt(self, group: PodGroup, room: Room, account: int, *, limit: int) -> bool:
        """Place the group, taking from the first `limit` units; what is taken stays taken if it could be placed."""
        room.limit = limit
        if room.law.action is not Action.CONSOLIDATE:
            return self.gangs(room).advance(group, account)
        mark = room.mark()
        # Victims move once all is placed; if they find no place then, each is to find one as it is taken.
        if self.gangs(room).advance(group, account):
            self._trim(group, room, account)
            if room.rehouse_all(room.taken[mark.more[0] :], self._rehouse):
                return True
        room.undo(mark)
        room.at_once = self._rehouse
        done = self.gangs(room).advance(group, account)
        room.at_once = None
        if done:
            self._trim(group, room, account)
            return True
        room.undo(mark)
        return False

    def _trim(self, group: PodGroup, room: Room, account: int) -> None:
        room.trim(
            lambda plain: self.gangs(plain).advance(group, account) and not self._refused(group, room.law.asked),
            lambda: not self._refused(group, room.law.asked),
        )

    def _rehouse_victims(self, room: Room) -> None:
        """Find other places for the victims, the most valuable first, as far as their queues' limits let them."""
        quota, group = self.standing.quota, room.law.group
        quota.add(group.queue, room.law.asked, preemptible=group.preemptible)
        for entry in room.taken[::-1]:
            unit = entry.unit.group
            if quota.gate(unit.queue, entry.amounts, preemptible=unit.preemptible) is None:
                room.rehouse(entry, self._rehouse)
        quota.remove(group.queue, room.law.asked, preemptible=group.preemptible)

    def gangs(self, placer: Placer) -> Gangs:
        """Places groups through a placer."""
        return Gangs(placer, topologies=self.topologies, leaving=self._leaving)

    def _refused(self, group: PodGroup, asked: Mapping[str, int]) -> bool:
        """Whether a limit is in the way, given what was taken. What is placed already is not charged yet."""
        return self.standing.quota.gate(group.queue, asked, preemptible=group.preemptible) is not None

    def _open_quota(self, group: PodGroup, room: Room) -> bool:
        """Take victims until the limits of the group's queues let it in; whether they do."""
        asked = room.law.asked
        if not self._refused(group, asked):
            return True
        if room.law.action is Action.CONSOLIDATE:
            return False
        for unit in room.law.units():
            room.take(unit)
            if not self._refused(group, asked):
                return True
        return False

    def _could_fit(self, group: PodGroup, room: Room, account: int) -> bool:
        """Whether the group would fit if all that may be evicted were gone: a bound that costs no search."""
        if room.law.action is Action.CONSOLIDATE or len(group.root.pods) == 1:
            return True
        mark = room.mark()
        room.limit = None
        room.take_all()
        fits = self.gangs(Placer(self.statement, policy=self.placement, rng=self.rng)).advance(group, account)
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
        mark, start = room.mark(), len(room.movers.placed.pods)
        if self.rehouse(entry.unit, entry.pods, entry.places[0].account, room.movers):
            return True
        self.statement.rollback(mark.statement)
        room.movers.placed.truncate(start)
        return False

    # ---- making it so

    def _commit(self, group: PodGroup, room: Room, action: Action) -> None:
        plan, quota = self.plan, self.standing.quota
        account = self._state.account(group.queue, preemptible=group.preemptible)
        moved = {id(entry) for entry in room.moved}
        accounts = {account}
        given_back: dict[tuple[str, bool], dict[str, int]] = {}
        for entry in room.taken:
            unit = entry.unit
            if id(entry) not in moved:
                book = given_back.setdefault((unit.group.queue, unit.group.preemptible), {})
                for resource, amount in entry.amounts.items():
                    book[resource] = book.get(resource, 0) + amount
            accounts.add(entry.places[0].account)
            reason = _reason(action, group, unit.group, moves=id(entry) in moved)
            for pod, at in zip(entry.pods, entry.places, strict=True):
                if pod not in self._fresh:
                    self.busy.add(at.row)
                    plan.evictions.append(Evict(pod, plan.nodes[at.row], reason, action, group.name, unit.lost))
            self._withdraw(entry, group)
            self._evicted.update(entry.pods)
            self.spent.update(entry.pods)
        plan.placements.extend(self.moved(entry.unit.group.name, entry.pods) for entry in room.moved)
        waits = not self.busy.isdisjoint(room.placed.rows)
        placement = taken_from(room.placed, 0, group=group.name, account=account, nominated=waits)
        if placement.pods:
            plan.placements.append(placement)
            if action is Action.CONSOLIDATE and group.preemptible:
                self._fresh.update(placement.pods)  # Nobody was lost for it, so it may give way again.
                self.victims.add(group)
            else:
                self.spent.update(placement.pods)
        for (queue, preemptible), amounts in given_back.items():
            quota.add(queue, amounts, preemptible=preemptible)
        self.standing.settle(accounts)
        if self._covered is not None:
            touched = {id(one): one for one in (group, *(entry.unit.group for entry in room.taken))}
            self._covered.decided(touched.values())

    # ---- moving

    def rehouse(self, unit: Unit, pods: Sequence[str], account: int, placer: Placer) -> bool:
        """Find other places, by `placer`, for just these pods of a unit; whether there were. What was tried stays."""
        gangs, start = self.gangs(placer), len(placer.placed.pods)
        found = self.standing.presence.satisfied(unit.group.root) or gangs.start(unit.group, account)
        while found and len(placer.placed.pods) - start < len(pods):
            found = gangs.grow(unit.group, account)
        return found and set(placer.placed.pods[start:]) == set(pods)

    def moved(self, group: str, pods: Sequence[str]) -> GroupPlacement:
        """The placement of pods that move, as the statement has them now."""
        state = self._state
        at = [state.pods[pod] for pod in pods]
        return GroupPlacement(
            group,
            at[0].account,
            tuple(pods),
            tuple(state.shapes[one.shape] for one in at),
            tuple(one.row for one in at),
            tuple(one.devices for one in at),
            nominated=True,
        )

    def _withdraw(self, entry: Taken, group: PodGroup) -> None:
        """Take back places that this very cycle gave: such pods need no eviction."""
        gone = self._fresh.intersection(entry.pods)
        if not gone:
            return
        plan, victim = self.plan, entry.unit.group
        plan.placements[:] = [left for made in plan.placements if (left := without(made, gone)).pods]
        self._fresh -= gone
        self.placed.discard(victim.name)
        self.withdrawn[victim.name] = (victim, f"gave way to '{group.name}', which comes before it")


def _reason(action: Action, group: PodGroup, victim: PodGroup, *, moves: bool) -> str:
    if action is Action.PREEMPT:
        why = f"preempted by '{group.name}' of priority {group.priority:g} (own {victim.priority:g})"
    elif action is Action.RECLAIM:
        why = f"reclaimed from queue '{victim.queue}' for '{group.name}' in queue '{group.queue}'"
    else:
        why = f"moved so that '{group.name}' can start"
    return f"{why}; it moves to another node" if moves and action is not Action.CONSOLIDATE else why


def _has_topology(group: PodGroup) -> bool:
    return any(part.topology is not None for part in group.root.parts())


def _constraints(group: PodGroup) -> Hashable:
    """What of a group's tree decides where it fits, beside its pods."""
    if len(group.root.pods) == 1:
        return group.root.topology
    return tuple((part.topology, part.minimum, part.desired) for part in group.root.parts())
