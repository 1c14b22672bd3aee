"""Looking ahead: a group that waits for room gets a date and a place, which nobody let in front of it may cost it.

A **shadow** is the cluster as it will be at one later time: those have left who will have ended by then, and the group
that waits is there. The date is the earliest at which it fits: not before there is enough in sum, which arrays tell;
from there on ends are released in growing steps, then the last step is halved. Further reservations continue from the
shadow before them.

Those behind it may start now, if one of these holds (**backfill**):

1. they end by that date (`Estimates.last_end`), or
2. the very devices they get now are free in the shadow too, or would be beside what is reserved, or
3. with them in the shadow, the group still fits there at that date, elsewhere.

So as long as running groups end when it is estimated and nobody who comes *before* it in the turns takes its room, its
date can only come nearer. That needs memory: placing is a heuristic that may fail where it succeeded with less room, so
the room promised by the last cycle (`PodGroup.reserved`) is checked first, and used when nothing better is found.

A shadow is only a promise: it holds nothing that a queue is charged for, and refuses nobody who comes before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final

import numpy as np

from quartermaster.cluster.assignment import Assignment
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.snapshot import Snapshot
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.reservation import Reservation, Seat
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.estimates import Estimates
from quartermaster.scheduling.filters import NodeRules, fitting
from quartermaster.scheduling.gangs import Gangs
from quartermaster.scheduling.plan import GroupPlacement, devices_of, taken_from
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.room import free_for

HOPELESS: Final = 3
"""Groups without any date that are asked for one in a cycle, beside those that get one."""

Ends = list[tuple[float, Sequence[str]]]
"""When which pods will have left, the earliest first."""

Placing = Callable[[Statement], Gangs]
"""Makes what places groups on a statement, under the policies of the cycle."""


class Ahead:
    """The reservations of one cycle. `held` has them by group, in the order in which they were given out."""

    def __init__(
        self, *, limit: int, estimates: Estimates, placing: Placing, leaving: Mapping[str, bool], now: float
    ) -> None:
        self.held: dict[str, Reservation] = {}
        self._left, self._hopeless = limit, HOPELESS
        self._estimates, self._placing, self._leaving, self._now = estimates, placing, leaving, now
        self._shadows: list[_Shadow] = []
        self._barred: set[Hashable] = set()

    def __bool__(self) -> bool:
        return bool(self._shadows)

    @property
    def wanted(self) -> bool:
        """Whether another group may have a reservation."""
        return self._left > 0 and self._hopeless > 0

    # ---- giving out

    def reserve(self, group: PodGroup, state: ClusterState, present: Iterable[tuple[PodGroup, float]]) -> bool:
        """Give the group a date and a place, if there is one.

        `state` is the cluster as it will be when those have left who are leaving; `present` are the groups on it, and
        since when they run.
        """
        last = self._shadows[-1] if self._shadows else None
        ends = last.ends.copy() if last is not None else self._ends(state, present, but=group.name)
        if last is not None:
            state = last.statement.state
        elif not ends:
            self._hopeless = 0  # Nobody's end is known, whoever asks.
            return False
        shadow = _Shadow(group, state, ends, self._placing, now=self._now if last is None else last.start)
        if not shadow.settle(open_now=last is not None):
            self._hopeless -= 1
            return False
        self._left -= 1
        end = self._estimates.end(group, since=shadow.start, now=shadow.start)
        if end is not None:
            shadow.ends.append((end, [seat.pod for seat in shadow.seats]))
        self._shadows.append(shadow)
        self._note(shadow)
        return True

    def _ends(self, state: ClusterState, present: Iterable[tuple[PodGroup, float]], *, but: str) -> Ends:
        there, leaving = state.pods, self._leaving
        found: Ends = []
        for group, since in present:
            end = self._estimates.end(group, since=since, now=self._now) if group.name != but else None
            if end is not None:
                pods = [pod.name for pod in group.pods if pod.name in there and pod.name not in leaving]
                if pods:
                    found.append((end, pods))
        return found

    def _note(self, shadow: _Shadow) -> None:
        self.held[shadow.group.name] = Reservation(shadow.start, shadow.seats)

    def drop(self, groups: Iterable[str]) -> None:
        """Forget the reservations of groups that were helped otherwise."""
        helped = set(groups) & self.held.keys()
        for name in helped:
            del self.held[name]
        self._shadows = [shadow for shadow in self._shadows if shadow.group.name not in helped]

    # ---- letting others in front

    def admits(self, group: PodGroup, placement: GroupPlacement) -> bool:
        """Whether a placement of this cycle costs no reservation anything; it is taken note of then."""
        since = self._now if group.started is None else group.started
        end = self._estimates.last_end(group, since=since, now=self._now)
        marks = []
        for shadow in self._shadows:
            if end <= shadow.start:
                break
            marks.append((shadow, shadow.statement.checkpoint()))
            if not shadow.take(placement):
                for taken, mark in marks:
                    taken.statement.rollback(mark)
                return False
        self._admit(group, placement, (shadow for shadow, _ in marks), since)
        return True

    def moves_for(self, group: PodGroup, placement: GroupPlacement) -> bool:
        """Whether the one reservation there is can have other room at the same time, so that the placement fits."""
        if len(self._shadows) != 1:
            return False
        (shadow,) = self._shadows
        if not shadow.make_way(placement):
            return False
        self._admit(group, placement, self._shadows, self._now if group.started is None else group.started)
        self._note(shadow)
        return True

    def _admit(self, group: PodGroup, placement: GroupPlacement, where: Iterable[_Shadow], since: float) -> None:
        end = self._estimates.end(group, since=since, now=self._now)
        if end is not None:
            for shadow in where:
                shadow.ends.append((end, placement.pods))

    def bar(self, group: PodGroup) -> str:
        """Remember that the likes of this group are not let in front; returns why, for people."""
        self._barred.add(_likes(group))
        shadow = self._shadows[-1]
        return (
            f"it would fit, and delay '{shadow.group.name}', which has room reserved in "
            f"{shadow.start - self._now:g} s: it may run past that"
        )

    def barred(self, group: PodGroup) -> bool:
        """Whether a group like this was not let in front already, and would fare no better."""
        if not self._barred or _likes(group) not in self._barred:
            return False
        since = self._now if group.started is None else group.started
        return self._estimates.last_end(group, since=since, now=self._now) > self._shadows[-1].start

    @contextmanager
    def kept_free(self, *statements: Statement) -> Iterator[None]:
        """Stand-ins on what is reserved, charged to nobody: what is placed meanwhile goes elsewhere.

        Those who still sit there are not asked, so less than nothing may be free. Pods with host ports have no
        stand-in: two on one node could not be told apart again.
        """
        stand_ins: list[tuple[Statement, str]] = []
        for shadow in self._shadows:
            for pod, at in shadow.places():
                for statement in statements:
                    state = statement.state
                    shape = state.shapes[at.shape]
                    if not shape.spec.host_ports:
                        name = f"{pod} (reserved)"
                        statement.place(name, shape, at.row, at.devices, state.account(""))
                        stand_ins.append((statement, name))
        yield
        for statement, name in stand_ins:
            statement.evict(name)


class _Shadow:
    """The cluster from `start` on, with `group` on its `seats`; `ends` are those still to come."""

    def __init__(self, group: PodGroup, state: ClusterState, ends: Ends, placing: Placing, *, now: float) -> None:
        later = state.snapshot().state
        self.group = group
        self.start = now
        self.seats: tuple[Seat, ...] = ()
        self.ends = sorted(ends, key=lambda end: end[0])
        self.statement = Statement(Snapshot(later))
        self._placing, self._gangs = placing, placing(self.statement)
        self._state = later
        self._account = later.account(group.queue, preemptible=group.preemptible)

    # ---- when and where

    def settle(self, *, open_now: bool) -> bool:
        """Find the earliest time at which the group fits, and put it there. `open_now`: as it is may do already."""
        same_time = groupby(self.ends, key=lambda end: end[0])
        batches: Ends = [(time, [pod for _, pods in same for pod in pods]) for time, same in same_time]
        if open_now and self._place():
            return True
        sums = _enough(self._state, self.group, batches)
        if sums is None:
            return False
        passed = max(0, sums - 1)
        self._state.forget_many(pod for _, pods in batches[:passed] for pod in pods)
        self.statement = Statement(Snapshot(self._state))
        self._gangs = self._placing(self.statement)
        promised, over = self.group.reserved, batches[passed - 1][0] if passed else self.start
        batches = batches[passed:]
        if promised is not None and (promised.start < over or not self._keeps(promised, batches)):
            promised = None
        earlier = batches if promised is None else [(time, pods) for time, pods in batches if time < promised.start]
        done = self._search(earlier)
        if done is None:
            if promised is None:
                return False
            done = self._due(promised, batches)
            self._release(batches[:done])
            sit(self.statement, promised.seats, self.group, self._account)
            self.start, self.seats = max(self.start, promised.start), promised.seats
        self.ends = batches[done:]
        return True

    def _due(self, promised: Reservation, batches: Ends) -> int:
        return sum(time <= promised.start for time, _ in batches)

    def _keeps(self, promised: Reservation, batches: Ends) -> bool:
        """Whether what was promised can still be had at that time."""
        mark = self.statement.checkpoint()
        self._release(batches[: self._due(promised, batches)])
        good = sit(self.statement, promised.seats, self.group, self._account) is not None
        self.statement.rollback(mark)
        return good

    def _search(self, batches: Ends) -> int | None:
        """The least number of batches after which the group fits; it is placed there, or nothing is changed."""
        statement = self.statement
        start = mark = statement.checkpoint()
        low, step = 0, 1
        while True:
            high = min(low + step, len(batches))
            if high == low:
                statement.rollback(start)
                return None
            mark = statement.checkpoint()
            self._release(batches[low:high])
            if self._fits():
                break
            low, step = high, 2 * step
        statement.rollback(mark)
        while high - low > 1:
            middle = (low + high) // 2
            mark = statement.checkpoint()
            self._release(batches[low:middle])
            if self._fits():
                statement.rollback(mark)
                high = middle
            else:
                low = middle
        self._release(batches[low:high])
        self.start = batches[high - 1][0]
        placed = self._place()
        assert placed, "what fitted a moment ago fits again"
        return high

    def _release(self, batches: Ends) -> None:
        for _, pods in batches:
            for pod in pods:
                self.statement.evict(pod)

    def _fits(self) -> bool:
        mark = self._gangs.placer.mark()
        fits = self._gangs.start(self.group, self._account)
        self._gangs.placer.undo(mark)
        return fits

    def _place(self) -> bool:
        placed = self._gangs.placer.placed
        start = len(placed.pods)
        if not self._gangs.start(self.group, self._account):
            return False
        got = taken_from(placed, start, group=self.group.name, account=self._account)
        nodes = self._state.nodes
        self.seats = tuple(
            Seat(pod, node.name if (node := nodes[row]) else "", devices_of(mask))
            for pod, row, mask in zip(got.pods, got.rows, got.masks, strict=True)
        )
        return True

    # ---- who else is there then

    def places(self) -> Iterator[tuple[str, Assignment]]:
        """Where the group will be."""
        for seat in self.seats:
            yield seat.pod, self._state.pods[seat.pod]

    def take(self, placement: GroupPlacement) -> bool:
        """Put a placement of today here too, on the same devices, if they are free; else some of it may be left."""
        columns = zip(placement.pods, placement.shapes, placement.rows, placement.masks, strict=True)
        for pod, shape, row, mask in columns:
            if not _seated(self.statement, pod, shape, row, mask=mask, account=placement.account):
                return False
        return True

    def make_way(self, placement: GroupPlacement) -> bool:
        """Give the group other room at its time, so that a placement of today can be here; whether that can be."""
        mark = self._gangs.placer.mark()
        seats = self.seats
        for seat in seats:
            self.statement.evict(seat.pod)
        if self.take(placement) and self._place():
            return True
        self._gangs.placer.undo(mark)
        self.seats = seats
        return False


def _enough(state: ClusterState, group: PodGroup, batches: Ends) -> int | None:
    """The least number of batches after which there is enough in sum for what a group lacks; None if never.

    A bound: nodes are asked how many pods of a shape their free amounts make, less than nothing counting as nothing.
    """
    needs = Counter(state.shape(spec) for spec in Presence(state.pods, {}).lacking(group.root))
    assignments = [state.pods[pod] for _, pods in batches for pod in pods]
    rows = np.array([at.row for at in assignments], dtype=np.int64)
    shapes = np.array([at.shape for at in assignments], dtype=np.int64)
    until = np.cumsum([0, *(len(pods) for _, pods in batches)])
    gpus = np.array([at.devices.bit_count() * at.share for at in assignments], dtype=np.float64)
    requests = np.array([shape.request for shape in state.shapes], dtype=np.float64)[shapes]
    nodes = len(state.nodes)
    free = state.classes.free[state.node_class[:nodes]]

    def enough(done: int) -> bool:
        part = slice(0, int(until[done]))
        for shape, count in needs.items():
            most = np.full(nodes, float(count))
            for column, amount in shape.asked:
                more = np.bincount(rows[part], weights=requests[part, column], minlength=nodes) if done else 0
                most = np.minimum(most, (free[:, column] + more) // amount)
            if shape.count and not shape.by_memory:
                more = np.bincount(rows[part], weights=gpus[part], minlength=nodes) if done else 0
                most = np.minimum(most, (state.gpu_free[:nodes].sum(axis=1) + more) // (shape.count * shape.share))
            if most[state.node_class[:nodes] >= 0].clip(min=0).sum() < count:
                return False
        return True

    if not enough(len(batches)):
        return None
    return bisect_left(range(len(batches)), True, key=enough)


def sit(statement: Statement, seats: Sequence[Seat], group: PodGroup, account: int) -> GroupPlacement | None:
    """Put the pods of a group on the seats promised to it; None, and nothing is placed, if that cannot be."""
    state, mark = statement.state, statement.checkpoint()
    specs = {pod.name: pod.spec for pod in group.pods if not pod.gated}
    shapes, rows, masks = [], [], []
    for pod, node, devices in seats:
        row, spec = state.rows.get(node), specs.get(pod)
        if row is None or spec is None or pod in state.pods:
            statement.rollback(mark)
            return None
        shape, mask = state.shape(spec), sum(1 << device for device in devices)
        if not _seated(statement, pod, shape, row, mask=mask, account=account):
            statement.rollback(mark)
            return None
        shapes.append(shape)
        rows.append(row)
        masks.append(mask)
    if not Presence(state.pods, {}).satisfied(group.root):
        statement.rollback(mark)
        return None
    pods = tuple(seat.pod for seat in seats)
    return GroupPlacement(group.name, account, pods, tuple(shapes), tuple(rows), tuple(masks))


def _seated(statement: Statement, pod: str, shape: Shape, row: int, *, mask: int, account: int) -> bool:
    """Place a pod on these very devices, if the node takes it and they are free."""
    state = statement.state
    if state.nodes[row] is None or not fitting(state, [int(state.node_class[row])], shape):
        return False
    share = shape.share_on(state.profile(row).gpu_memory) or DEVICE
    if not free_for(state, shape, Assignment(row, shape.id, mask, share, account)):
        return False
    if (shape.constrained or state.affinity.terms) and NodeRules(state, shape).reason(row) is not None:
        return False
    statement.place(pod, shape, row, mask, account)
    return True


def _likes(group: PodGroup) -> Hashable:
    """What groups have in common that are let in front, or not, alike; a group with a tree is like no other."""
    root = group.root
    if root.children or group.started is not None:
        return group.name
    return tuple(pod.spec for pod in root.pods), root.min, root.topology
