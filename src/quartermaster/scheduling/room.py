"""A placer that makes room: what does not fit is made to fit by taking victims, as few and as cheap as can be.

Victims are looked for **node by node**, since a pod needs room on one node. On every node that the units in question
touch, units go in order until the pod fits; the node wins whose last unit comes first in the order, then the one with
fewer pods and less work lost. After each such step the ordinary placement goes on. When everything is placed, `trim`
gives back whoever turned out not to be needed, and `rehouse` looks for other places for the rest.

All of it happens on the statement, and is undone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.assignment import Assignment
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.domains import Rows, copies
from quartermaster.scheduling.filters import NodeRules, fitting
from quartermaster.scheduling.laws import Law
from quartermaster.scheduling.placing import Mark, Patient, Placer, Rng
from quartermaster.scheduling.plan import devices_of
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.quota import readable
from quartermaster.scheduling.victims import Unit, Victims

EXACT = 24
"""Up to so many victims, each is spared for a try and the group placed anew; beyond, placements stay where they are."""


class Budget:
    """How many nodes a cycle may still try."""

    def __init__(self, tries: int) -> None:
        self.left = tries

    def spend(self) -> bool:
        """Whether there was one left."""
        self.left -= 1
        return self.left >= 0


class Taken(NamedTuple):
    """A unit that was taken: its pods, where they were, and what they were charged."""

    unit: Unit
    pods: list[str]
    places: list[Assignment]
    amounts: dict[str, int]


Rehouse = Callable[["Room", Taken], bool]
"""Finds another place for a victim, through `Room.movers`; whether it did. What it tried in vain it undoes."""


class Room(Placer):
    """Makes room for one group under one law. `taken` are the victims so far; `cut` says that the budget ran out.

    Only the first `limit` units are looked at (None: all). With `at_once`, every victim has to find another place as
    soon as it is taken, or it is no victim. Victims with another place are in `moved` too.
    """

    def __init__(
        self,
        statement: Statement,
        *,
        policy: PlacementPolicy,
        rng: Rng,
        law: Law,
        victims: Victims,
        budget: Budget,
        max_moves: int | None = None,
    ) -> None:
        super().__init__(statement, policy=policy, rng=rng)
        self.law = law
        self.taken: list[Taken] = []
        self.moved: list[Taken] = []
        self.movers = Placer(statement, policy=policy, rng=rng)
        self.cut = False
        self.limit: int | None = None
        self.at_once: Rehouse | None = None
        self._victims = victims
        self._budget = budget
        self._max_moves = max_moves
        self._ordered = _Pulled(law.units())
        self._capacity: dict[tuple[int, int], NDArray[np.int64]] = {}

    # ---- going back

    def mark(self) -> Mark:
        """The present point, victims included."""
        return Mark(len(self.placed.pods), self.statement.checkpoint(), (len(self.taken), len(self.moved)))

    def undo(self, mark: Mark) -> None:
        """Take back everything since `mark`; victims return to where they were."""
        taken, moved = mark.more
        self.statement.rollback(mark.statement)
        self.placed.truncate(mark.placed)
        rehoused = {id(entry) for entry in self.moved[moved:]}
        del self.moved[moved:]
        for entry in self.taken[taken:]:
            if id(entry) not in rehoused:
                self._book(entry, -1)
        del self.taken[taken:]

    def _book(self, entry: Taken, sign: int) -> None:
        self.law.take(entry.unit, [at.shape for at in entry.places], entry.amounts, sign)

    def take(self, unit: Unit) -> bool:
        """Take what is left of a unit, if the law lets it."""
        pods = self._victims.alive(unit)
        if not pods or not self.law.may_take(unit, pods):
            return False
        there = self.state.pods
        entry = Taken(unit, pods, [there[pod] for pod in pods], self._victims.amounts(pods))
        self._book(entry, 1)
        for pod in pods:
            self.statement.evict(pod)
        self.taken.append(entry)
        return True

    def take_all(self) -> None:
        """Take everything that the law lets go, in order."""
        for unit in self._ordered.up_to(self.limit):
            self.take(unit)

    # ---- placing

    def place(self, names: Sequence[str], shape: Shape, account: int, rows: Rows | None = None) -> int:
        """Place these equal pods, making room where it is needed; returns how many found a place."""
        done = super().place(names, shape, account, rows)
        if done == len(names):
            return done
        search = _Search(self, shape, rows, self._ordered.up_to(self.limit), self._budget)
        while done < len(names):
            mark = self.mark()
            row = search.next()
            if row is None:
                break
            got = super().place(names[done:], shape, account, np.array([row]))
            if self.at_once is not None and not self.rehouse_all(self.taken[mark.more[0] :], self.at_once):
                self.undo(mark)
                search.bar(row)
                continue
            done += got
            search.look_again(row)
            if done < len(names) and search.spread_out:
                done += super().place(names[done:], shape, account, rows)
        self.cut = self.cut or search.cut
        if done < len(names) and search.sees_other_nodes and self.at_once is None:
            done += self._by_prefix(names[done:], shape, account, rows)
        return done

    def rehouse_all(self, entries: Sequence[Taken], find: Rehouse) -> bool:
        """Find other places for these victims; whether all have one and no more pods move than may."""
        if not all(self.rehouse(entry, find) for entry in entries):
            return False
        return self._max_moves is None or sum(len(entry.pods) for entry in self.moved) <= self._max_moves

    def rehouse(self, entry: Taken, find: Rehouse) -> bool:
        """Find another place for a victim; whether there is one. Its queue then holds what it held."""
        if not find(self, entry):
            return False
        self._book(entry, -1)
        self.moved.append(entry)
        return True

    def _by_prefix(self, names: Sequence[str], shape: Shape, account: int, rows: Rows | None) -> int:
        """Take more and more units in order, wherever they are: for pods whom pods on other nodes keep out."""
        done, step = 0, 1
        units = iter(self._ordered.up_to(self.limit))
        while done < len(names):
            took = 0
            for unit in units:
                if not self._budget.spend():
                    self.cut = True
                    return done
                took += self.take(unit)
                if took == step:
                    break
            if not took:
                return done
            done += super().place(names[done:], shape, account, rows)
            step *= 2
        return done

    def fits(self, row: int, shape: Shape, rules: NodeRules) -> bool:
        """Whether the node in this row takes a pod of `shape` as it is."""
        if not fitting(self.state, [self.state.class_at[row]], shape):
            return False
        return not rules.active or rules.reason(row) is None

    def capacity(self, shape: Shape) -> NDArray[np.int64]:
        """What nodes would take if everything that may be taken were gone: an upper bound [rows]."""
        key = (shape.id, self.state.generation)
        known = self._capacity.get(key)
        if known is None:
            mark = self.mark()
            self.take_all()
            known = copies(self.state, shape)
            self.undo(mark)
            self._capacity.clear()
            self._capacity[shape.id, self.state.generation] = known
        return known

    def sums_up(self, free: Mapping[str, int], *, moves: bool) -> int | str:
        """How many units have to go at the least for what is asked to be there in sum; if all are too few, the numbers.

        A necessary condition that costs no search: one GPU short of feasible is one GPU short. If victims `moves`,
        what is free now has to do, since they need as much elsewhere.
        """
        total = dict(free)
        asked = {name: amount for name, amount in self.law.asked.items() if amount and name in free}
        lacking = {name for name, amount in asked.items() if amount > total[name]}
        count = 1
        booked: dict[tuple[str, bool], tuple[Unit, list[int], dict[str, int]]] = {}
        there, law = self.state.pods, self.law
        for index, unit in enumerate(() if moves or not lacking else self._ordered.each()):
            pods = self._victims.alive(unit)
            if pods and law.may_take(unit, pods):
                shapes, amounts = [there[pod].shape for pod in pods], self._victims.amounts(pods)
                law.take(unit, shapes, amounts)
                account = (unit.group.queue, unit.group.preemptible)
                _, all_shapes, sums = booked.setdefault(account, (unit, [], {}))
                all_shapes.extend(shapes)
                count = index + 1
                for name, amount in amounts.items():
                    total[name] = total.get(name, 0) + amount
                    sums[name] = sums.get(name, 0) + amount
                lacking = {name for name in lacking if asked[name] > total[name]}
                if not lacking:
                    break
        for unit, shapes, amounts in booked.values():
            law.take(unit, shapes, amounts, -1)
        for name in sorted(lacking):
            return (
                f"{readable(asked[name], name)} {name} asked, {readable(free[name], name)} free and "
                f"{readable(total[name] - free[name], name)} to be had from others"
            )
        return count

    def exhausted(self, limit: int) -> bool:
        """Whether no more than `limit` units come into question."""
        return len(self._ordered.up_to(limit + 1)) <= limit

    # ---- giving back

    def trim(self, again: Callable[[Placer], bool], allowed: Callable[[], bool]) -> None:
        """Give back every victim that is not needed, the most valuable first, as far as it is `allowed` (by a limit).

        The group is first placed anew by `again` without taking anybody, so that it stands where the policy would have
        it. Then go back those whose place nobody took, or can be had by moving the new pods on their own node. Last, if
        few are left, each is given back for a try and the group placed anew once more.
        """
        if len(self.placed.pods) > 1:
            self._anew(again)
        for entry in self.moved[::-1]:
            self._spare_moved(entry)
        for entry in self._valuable_first():
            self._spare_in_place(entry, allowed)
        if 1 < len(self.taken) <= EXACT:
            for entry in self._valuable_first():
                self._spare_anew(entry, again)
        self._read_places()

    def _valuable_first(self) -> list[Taken]:
        moved = {id(entry) for entry in self.moved}
        return [entry for entry in self.taken[::-1] if id(entry) not in moved]

    def _put_back(self, entry: Taken) -> bool:
        state = self.state
        for pod, at in zip(entry.pods, entry.places, strict=True):
            shape = state.shapes[at.shape]
            if not free_for(state, shape, at):
                return False
            self.statement.place(pod, shape, at.row, at.devices, at.account)
        return True

    def _spare_moved(self, entry: Taken) -> None:
        """Let a victim stay where it was, if that place is free after all."""
        mark = self.statement.checkpoint()
        for pod in entry.pods:
            self.statement.evict(pod)
        if self._put_back(entry):
            self.moved.remove(entry)
            self.taken.remove(entry)
        else:
            self.statement.rollback(mark)

    def spare_if(self, entry: Taken, holds: Callable[[], bool]) -> bool:
        """Give a victim back if its place is free and a condition still holds then; whether it was."""
        mark = self.statement.checkpoint()
        if self._put_back(entry) and holds():
            self._give_back(entry)
            return True
        self.statement.rollback(mark)
        return False

    def _spare_in_place(self, entry: Taken, allowed: Callable[[], bool]) -> bool:
        if not self._room_for(entry) or not self._may_give_back(entry, allowed):
            return False
        if self.spare_if(entry, lambda: True):
            return True
        mark = self.statement.checkpoint()
        rows = {at.row for at in entry.places}
        state = self.state
        own = [pod for pod in self.placed.pods if state.pods[pod].row in rows] if len(rows) <= 2 else []
        if not own:
            return False
        was = [(pod, self.statement.evict(pod)) for pod in own]
        if self._put_back(entry):
            for pod, at in was:
                length = len(self.placed.pods)
                if not super().place([pod], state.shapes[at.shape], at.account, np.array([at.row])):
                    break
                self.placed.truncate(length)
            else:
                self._give_back(entry)
                return True
        self.statement.rollback(mark)
        return False

    def _spare_anew(self, entry: Taken, again: Callable[[Placer], bool]) -> None:
        mark = self.statement.checkpoint()
        for pod in self.placed.pods:
            self.statement.evict(pod)
        if self._put_back(entry):
            self._book(entry, -1)
            if self._replace(again):
                self.taken.remove(entry)
                return
            self._book(entry, 1)
        self.statement.rollback(mark)

    def _anew(self, again: Callable[[Placer], bool]) -> None:
        mark = self.statement.checkpoint()
        for pod in self.placed.pods:
            self.statement.evict(pod)
        if not self._replace(again):
            self.statement.rollback(mark)

    def _replace(self, again: Callable[[Placer], bool]) -> bool:
        """Place the group without taking anybody; whether all of it found a place."""
        busy = np.unique([at.row for entry in self.taken for at in entry.places]).astype(np.int64)
        plain = Patient(self.statement, policy=self._policy, rng=self._rng, busy=busy)
        if again(plain) and len(plain.placed.pods) == len(self.placed.pods):
            self.placed = plain.placed
            return True
        return False

    def _room_for(self, entry: Taken) -> bool:
        """Whether the nodes of a victim have room for each of its pods, on whichever devices."""
        state = self.state
        for at in entry.places:
            free = state.classes.keys[state.class_at[at.row]][1]
            if any(free[column] < wanted for column, wanted in state.shapes[at.shape].asked):
                return False
            if at.devices:
                enough = sum(left >= at.share for left in state.gpu_free[at.row].tolist())
                if enough < at.devices.bit_count():
                    return False
        return True

    def _may_give_back(self, entry: Taken, allowed: Callable[[], bool]) -> bool:
        self._book(entry, -1)
        may = allowed()
        self._book(entry, 1)
        return may

    def _give_back(self, entry: Taken) -> None:
        self.taken.remove(entry)
        self._book(entry, -1)

    def _read_places(self) -> None:
        placed = self.placed
        for index, pod in enumerate(placed.pods):
            at = self.state.pods[pod]
            placed.rows[index], placed.masks[index] = at.row, at.devices


def free_for(state: ClusterState, shape: Shape, at: Assignment) -> bool:
    """Whether the very place that a pod had is free: amounts, host ports and devices of its node."""
    _, free, _, _, ports = state.classes.keys[state.class_at[at.row]]
    if any(free[column] < wanted for column, wanted in shape.asked):
        return False
    if ports and ports & frozenset(shape.spec.host_ports):
        return False
    if not at.devices:
        return True
    gpu = state.gpu_free[at.row].tolist()
    return all(gpu[index] >= at.share for index in devices_of(at.devices))


class _Pulled:
    """A stream of units that can be looked at from the start more than once."""

    def __init__(self, units: Iterator[Unit]) -> None:
        self._units = units
        self._seen: list[Unit] = []

    def each(self) -> Iterator[Unit]:
        """All units, pulled as they are asked for."""
        yield from self._seen
        for unit in self._units:
            self._seen.append(unit)
            yield unit

    def up_to(self, count: int | None) -> list[Unit]:
        """The first `count` units (None: all)."""
        while count is None or len(self._seen) < count:
            unit = next(self._units, None)
            if unit is None:
                break
            self._seen.append(unit)
        return self._seen if count is None else self._seen[:count]


class _Search:
    """The nodes on which victims make room for one shape, cheapest first."""

    def __init__(self, room: Room, shape: Shape, rows: Rows | None, units: Sequence[Unit], budget: Budget) -> None:
        self._room, self._shape, self._budget = room, shape, budget
        self._rules = NodeRules(room.state, shape)
        self._on_row: dict[int, list[tuple[int, Unit]]] = {}
        self._heap: list[tuple[tuple[int, int, float], int]] = []
        self._barred: set[int] = set()
        self.cut = False
        self.spread_out = False
        self._devices = shape.count if shape.whole else 0
        only = None if rows is None else set(rows.tolist())
        pods = room.state.pods
        for rank, unit in enumerate(units):
            at = {pods[name].row for name in unit.names if name in pods}
            self.spread_out = self.spread_out or len(at) > 1
            for row in at:
                if only is None or row in only:
                    self._on_row.setdefault(row, []).append((rank, unit))
        for row in sorted(self._on_row):
            self._offer(row)

    @property
    def sees_other_nodes(self) -> bool:
        """Whether pods on other nodes may be what keeps this shape out."""
        return self._rules.active

    def bar(self, row: int) -> None:
        """Do not offer this node again."""
        self._barred.add(row)

    def look_again(self, row: int) -> None:
        """Offer a node again for one more pod."""
        self._offer(row)

    def next(self) -> int | None:
        """Make room for one pod on the cheapest node; its row, or None when no node can be made to fit."""
        while self._heap:
            cost, row = heappop(self._heap)
            if row in self._barred:
                continue
            mark = self._room.mark()
            now = self._clear(row)
            if now is not None and (now <= cost or not self._heap or (now, row) <= self._heap[0]):
                return row
            self._room.undo(mark)
            if now is not None:
                heappush(self._heap, (now, row))
        return None

    def _offer(self, row: int) -> None:
        """Put a node up at the least that it can cost; what it really costs is seen when its turn comes."""
        if row in self._barred:
            return
        bound = self._bound(row)
        if bound is not None:
            heappush(self._heap, (bound, row))

    def _bound(self, row: int) -> tuple[int, int, float] | None:
        """The cost of the first units that free enough devices, if these were all that is asked; None: too few."""
        room = self._room
        need = self._devices - (room.state.gpu_free[row].tolist().count(DEVICE) if self._devices else 0)
        if need <= 0:
            return (-1, 0, 0.0)
        pods = room.state.pods
        for rank, unit in self._on_row.get(row, ()):
            for name in unit.names:
                at = pods.get(name)
                if at is not None and at.row == row:
                    need -= at.devices.bit_count()
            if need <= 0:
                return (rank, 0, 0.0)
        return None

    def _clear(self, row: int) -> tuple[int, int, float] | None:
        """Take units on a node in order until the shape fits; what that cost, None if it does not come to fit."""
        if not self._budget.spend():
            self.cut = True
            return None
        room = self._room
        if room.fits(row, self._shape, self._rules):
            return (-1, 0, 0.0)
        last = pods = 0
        lost = 0.0
        before = len(room.taken)
        for rank, unit in self._on_row.get(row, ()):
            if not room.take(unit):
                continue
            last = max(last, rank)
            if room.fits(row, self._shape, self._rules):
                self._leave_needless(row, before)
                for entry in room.taken[before:]:
                    pods += len(entry.pods)
                    lost += entry.unit.lost
                return (last, pods, lost)
        return None

    def _leave_needless(self, row: int, before: int) -> None:
        """Give back at once the units that the node fits without; those with more devices than are over stay taken."""
        room, shape = self._room, self._shape
        if len(room.taken) - before < 2:
            return
        over = room.state.gpu_free[row].tolist().count(DEVICE) - shape.count
        for entry in reversed(room.taken[before:-1]):
            devices = sum(at.devices.bit_count() for at in entry.places if at.row == row)
            if not shape.whole or not devices or devices <= over:
                over -= devices * room.spare_if(entry, lambda: room.fits(row, shape, self._rules))
