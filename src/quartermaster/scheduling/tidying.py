"""Idle-time moves: when nothing waits, little work is moved so that whole nodes, or whole NVLink domains, come free.

A place is emptied only if all that runs on it may be moved and finds room on places that are in use anyway, so each
time there is one place in use less: it ends by itself, and nothing is moved back and forth. What a move costs, the work
since the last checkpoint, is stated with it; cheapest places go first, up to `Rules.idle_moves` pods a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quartermaster.cluster.assignment import Assignment
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.topology import Topology
from quartermaster.scheduling.domains import Rows, domains
from quartermaster.scheduling.making import Making
from quartermaster.scheduling.placing import Placer, Rng
from quartermaster.scheduling.plan import Evict
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.rules import Action
from quartermaster.scheduling.victims import Unit


@dataclass(frozen=True, slots=True)
class Place:
    """Rows that are emptied together, and their name for people. A lower `tier` is worth more."""

    name: str
    rows: frozenset[int]
    tier: int


class Confined(Placer):
    """A placer that uses some rows only, whatever it is asked."""

    def __init__(self, statement: Statement, *, policy: PlacementPolicy, rng: Rng, rows: Rows) -> None:
        super().__init__(statement, policy=policy, rng=rng)
        self._rows = rows

    def place(self, names: Sequence[str], shape: Shape, account: int, rows: Rows | None = None) -> int:
        """Place on those rows."""
        return super().place(names, shape, account, self._rows if rows is None else np.intersect1d(rows, self._rows))


def places(state: ClusterState, topologies: Iterable[Topology]) -> Iterator[Place]:
    """What can be emptied: the domains of hard levels, finest last, then every node with GPUs."""
    for topology in topologies:
        index = domains(state, topology)
        for depth, level in enumerate(topology.levels):
            if level.hard:
                for number in range(index.count(depth)):
                    yield Place(index.name(depth, number), frozenset(index.rows(depth, number).tolist()), 0)
    for row, node in enumerate(state.nodes):
        if node is not None and node.gpus:
            yield Place(f"node '{node.name}'", frozenset((row,)), 1)


def cheapest(
    candidates: Iterable[Place], units: Iterable[Unit], *, state: ClusterState, alive: Callable[[Unit], list[str]]
) -> list[tuple[Place, list[Unit]]]:
    """The places in use all of whose pods belong to `units`: by tier, then by work and pods that would move."""
    there = state.pods
    on_row: dict[int, list[Unit]] = {}
    for unit in units:
        for row in {there[pod].row for pod in alive(unit)}:
            on_row.setdefault(row, []).append(unit)
    used: dict[int, int] = {}
    for at in there.values():
        used[at.row] = used.get(at.row, 0) + 1
    found: list[tuple[tuple[int, float, int, int], Place, list[Unit]]] = []
    for order, place in enumerate(candidates):
        here = _distinct(unit for row in sorted(place.rows) for unit in on_row.get(row, ()))
        pods = [pod for unit in here for pod in alive(unit)]
        inside = len({pod for pod in pods if there[pod].row in place.rows})
        if inside and inside == sum(used.get(row, 0) for row in place.rows):
            cost = sum(unit.lost for unit in here)
            found.append(((place.tier, cost, len(set(pods)), order), place, here))
    found.sort(key=lambda entry: entry[0])
    return [(place, here) for _, place, here in found]


class Tidying:
    """Empties places in one idle cycle."""

    def __init__(self, making: Making, *, state: ClusterState) -> None:
        self._making = making
        self._state = state

    def run(self) -> None:
        """Free what can be freed within `Rules.idle_moves`, cheapest first."""
        making, state = self._making, self._state
        left = making.rules.idle_moves
        alive = making.victims.alive
        units = list(making.victims.across())
        for place, here in cheapest(places(state, making.topologies.values()), units, state=state, alive=alive):
            pods = [pod for unit in here for pod in alive(unit)]
            if len(pods) <= left and self._empty(place, here):
                left -= len(pods)

    def _empty(self, place: Place, here: Sequence[Unit]) -> bool:
        """Move all that runs on a place; whether that could be."""
        making, statement = self._making, self._making.statement
        mark = statement.checkpoint()
        was: list[tuple[Unit, list[str], list[Assignment]]] = []
        for unit in here:
            pods = making.victims.alive(unit)
            if not pods or not making.budgets.allow(pods):
                statement.rollback(mark)
                return False
            was.append((unit, pods, [statement.evict(pod) for pod in pods]))
        rows = in_use(self._state, without=place.rows)
        placer = Confined(statement, policy=making.placement, rng=making.rng, rows=rows)
        for unit, pods, at in was:
            if not making.rehouse(unit, pods, at[0].account, placer):
                statement.rollback(mark)
                return False
        for unit, pods, at in was:
            reason = f"moved to free {place.name}; {unit.lost:.4g} GPU-seconds are done again"
            for pod, left in zip(pods, at, strict=True):
                node = making.plan.nodes[left.row]
                making.plan.evictions.append(Evict(pod, node, reason, Action.CONSOLIDATE, "", unit.lost))
            making.budgets.take([left.shape for left in at])
            making.plan.placements.append(making.moved(unit.group.name, pods))
        return True


def _distinct(units: Iterable[Unit]) -> list[Unit]:
    """Each unit once; a core takes the surplus of its group along."""
    once = list({id(unit): unit for unit in units}.values())
    cores = {unit.group.name for unit in once if unit.core}
    return [unit for unit in once if unit.core or unit.group.name not in cores]


def in_use(state: ClusterState, *, without: frozenset[int]) -> Rows:
    """The rows on which pods are, but for those that are to be emptied."""
    return np.array(sorted({at.row for at in state.pods.values()} - without), dtype=np.int64)
