"""Who could make room: running work cut into units, and the order in which units go.

A unit is what can be taken without breaking a gang more than it must: a pod above a minimum, a sub-group that its
parent can do without, or else the whole group. Inside a queue the lowest priority goes first, then what is surplus,
then what loses least work, then the youngest. Between queues, the one that would be served last gives first, asked anew
after every unit, so that none is stripped before its turn.

Work lost is GPU-seconds since the group started or last saved its state, at the price of its GPUs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from quartermaster.cluster.state import ClusterState
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.rules import Rules, VictimOrder
from quartermaster.scheduling.standing import Standing
from quartermaster.scheduling.turns import Ranking


class Unit:
    """Pods that go together. `core` if the group does not survive it; `lost` is the work that would be lost."""

    __slots__ = ("core", "group", "lost", "names")

    def __init__(self, group: PodGroup, names: tuple[str, ...], *, core: bool, lost: float) -> None:
        self.group = group
        self.names = names
        self.core = core
        self.lost = lost


class Victims:
    """The possible victims of one cycle. `spent` are pods that this cycle placed, moved or evicted: not to be touched.

    `prices` maps a GPU model to what a GPU of it costs; models that are not there cost 1.
    """

    def __init__(
        self,
        running: Iterable[PodGroup],
        *,
        state: ClusterState,
        standing: Standing,
        ranking: Ranking,
        rules: Rules,
        now: float,
        prices: Mapping[str, float],
        spent: set[str],
    ) -> None:
        self.spent = spent
        self._state, self._standing, self._ranking = state, standing, ranking
        self._rules, self._now, self._prices = rules, now, prices
        self._presence: Presence = standing.presence
        self._groups: dict[str, list[PodGroup]] = {}
        for group in running:
            if group.preemptible:
                self._groups.setdefault(group.queue, []).append(group)
        self._units: dict[str, list[Unit | PodGroup]] = {}
        self._start: dict[str, int] = {}

    def add(self, group: PodGroup) -> None:
        """Let another group be a victim too."""
        self._groups.setdefault(group.queue, []).append(group)
        self._units.pop(group.queue, None)

    def alive(self, unit: Unit) -> list[str]:
        """The pods of a unit that are still to be had."""
        there, spent = self._state.pods, self.spent
        return [name for name in unit.names if name in there and name not in spent]

    def in_queue(self, leaf: str) -> Iterator[Unit]:
        """The units of one queue, first to go first."""
        units = self._units.get(leaf)
        if units is None:
            units = self._units[leaf] = self._cut(self._groups.get(leaf, ()))
            self._start[leaf] = 0
        start = self._start[leaf]
        while start < len(units) and not self.alive(self._unit(units, start)):
            start += 1
        self._start[leaf] = start
        for index in range(start, len(units)):
            yield self._unit(units, index)

    def across(self, *, without: str = "") -> Iterator[Unit]:
        """The units of all queues but one, in reverse order of service."""
        leaves = [leaf for leaf in self._groups if leaf != without and leaf in self._standing.tree]
        if len(leaves) <= 1:
            return chain.from_iterable(self.in_queue(leaf) for leaf in leaves)
        return self._merged(leaves)

    def _merged(self, leaves: Sequence[str]) -> Iterator[Unit]:
        tree = self._standing.tree
        streams = {leaf: self.in_queue(leaf) for leaf in leaves}
        heads = {leaf: next(stream, None) for leaf, stream in streams.items()}
        taken: dict[str, dict[str, int]] = {queue.name: {} for queue in tree}
        rank: dict[str, tuple[Any, ...]] = {}
        below: dict[str | None, set[str]] = {}

        def refresh(leaf: str) -> None:
            for queue in tree.path(leaf):
                live = heads[leaf] is not None if queue.name == leaf else bool(below.get(queue.name))
                siblings = below.setdefault(queue.parent, set())
                if not live:
                    siblings.discard(queue.name)
                    continue
                siblings.add(queue.name)
                rank[queue.name] = self._ranking.of(queue.name, {}, taken[queue.name])

        for leaf in leaves:
            refresh(leaf)
        while below.get(None):
            name: str | None = None
            while below.get(name):
                name = max(below[name], key=rank.__getitem__)
            assert name is not None, "the loop above went down at least once"
            unit = heads[name]
            assert unit is not None, "a leaf without units is in no set"
            yield unit
            amounts = self.amounts(self.alive(unit))
            for queue in tree.path(name):
                book = taken[queue.name]
                for resource, amount in amounts.items():
                    book[resource] = book.get(resource, 0) + amount
            heads[name] = next(streams[name], None)
            refresh(name)

    def amounts(self, pods: Sequence[str]) -> dict[str, int]:
        """What pods are charged together."""
        state = self._state
        total: dict[str, int] = {}
        for pod in pods:
            at = state.pods[pod]
            for name, amount in state.charge(state.shapes[at.shape], at.row):
                total[name] = total.get(name, 0) + amount
        return total

    # ---- cutting groups into units

    @staticmethod
    def _unit(units: list[Unit | PodGroup], index: int) -> Unit:
        """The unit at an index; a group of one pod becomes a unit when it is first looked at."""
        unit = units[index]
        if isinstance(unit, PodGroup):
            unit = units[index] = Unit(unit, (unit.root.pods[0].name,), core=True, lost=0.0)
        return unit

    def _cut(self, groups: Iterable[PodGroup]) -> list[Unit | PodGroup]:
        """The units of these groups in order. Where no work is counted, groups of one pod stay as they are for now."""
        weighs = self._rules.victim_order is VictimOrder.LEAST_LOST
        youngest_first = sorted(groups, key=attrgetter("created", "name"), reverse=True)
        if not weighs and all(len(group.root.pods) == 1 for group in youngest_first):
            there, leaving = self._state.pods, self._presence.leaving
            names = [(group.root.pods[0].name, group) for group in youngest_first]
            singles = [group for name, group in names if name in there and name not in leaving]
            singles.sort(key=attrgetter("priority"))
            return [*singles]
        found = [unit for group in youngest_first for unit in self._units_of(group)]
        if weighs:
            found.sort(key=lambda unit: (unit.group.priority, unit.core, unit.lost))
        else:
            found.sort(key=lambda unit: (unit.group.priority, unit.core))
        return [*found]

    def _units_of(self, group: PodGroup) -> Iterator[Unit]:
        for chunk in self._surplus(group.root):
            yield Unit(group, tuple(chunk), core=False, lost=self._lost(group, chunk))
        running = self._presence.running(group.root)
        if running:
            yield Unit(group, tuple(running), core=True, lost=self._lost(group, running))

    def _surplus(self, part: SubGroup) -> list[list[str]]:
        """What a part can lose and stay at its minimum, first to go first."""
        if not part.children:
            running = self._presence.running(part)
            if len(running) > part.minimum and any(pod.priority is not None for pod in part.pods):
                order = {pod.name: -pod.priority if pod.priority is not None else float("inf") for pod in part.pods}
                running.sort(key=order.__getitem__)
            return [[name] for name in reversed(running[part.minimum :])]
        chunks = [chunk for child in reversed(part.children) for chunk in self._surplus(child)]
        good = [child for child in part.children if self._presence.satisfied(child)]
        spare = len(good) - part.minimum
        for child in reversed(good[len(good) - spare :] if spare > 0 else []):
            running = self._presence.running(child)
            if running:
                chunks.append(running)
        return chunks

    def _lost(self, group: PodGroup, pods: Sequence[str]) -> float:
        if group.started is None or self._rules.victim_order is not VictimOrder.LEAST_LOST:
            return 0.0
        since = max(group.started, group.checkpointed if group.checkpointed is not None else group.started)
        state, value = self._state, 0.0
        for pod in pods:
            at = state.pods[pod]
            shape = state.shapes[at.shape]
            if shape.count:
                value += shape.count * at.share / DEVICE * self._prices.get(state.profile(at.row).gpu_model, 1.0)
        return max(0.0, self._now - since) * value
