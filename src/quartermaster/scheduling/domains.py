"""Topology as arrays: which domain every node is in, level by level, and how much of a shape each domain takes.

A domain is numbered per level in the order of its first node, so ties between equal domains are decided by the order of
adding, as everywhere. The index is kept with the state until nodes change; capacity is a sum over classes, so it costs
one `bincount` however many pods are asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.topology import Topology
from quartermaster.scheduling.filters import fitting, shares
from quartermaster.scheduling.view import ClassView

Rows = NDArray[np.int64]
"""Node rows, ascending."""

MOST = 1_000_000
"""Copies per node at which counting stops; sums over a cluster stay far from overflow."""


class DomainIndex:
    """The domains of one topology on one state.

    `of` int32 [levels, rows]: domain number per node, -1 outside. `labels[level][number]` is the path of label values.
    """

    def __init__(self, state: ClusterState, topology: Topology) -> None:
        levels, rows = len(topology.levels), len(state.nodes)
        self.topology = topology
        self.of = np.full((levels, rows), -1, dtype=np.int32)
        self.labels: list[list[tuple[str, ...]]] = [[] for _ in range(levels)]
        numbers: list[dict[tuple[str, ...], int]] = [{} for _ in range(levels)]
        for row, node in enumerate(state.nodes):
            if node is None:
                continue
            path: tuple[str, ...] = ()
            for depth, level in enumerate(topology.levels):
                value = node.labels.get(level.label)
                if value is None:
                    break
                path = (*path, value)
                number = numbers[depth].setdefault(path, len(numbers[depth]))
                if number == len(self.labels[depth]):
                    self.labels[depth].append(path)
                self.of[depth, row] = number
        self._rows: dict[tuple[int, int], Rows] = {}
        self._above: dict[tuple[int, int], NDArray[np.int64]] = {}

    def count(self, depth: int) -> int:
        """How many domains a level has."""
        return len(self.labels[depth])

    def rows(self, depth: int, number: int) -> Rows:
        """The nodes of a domain."""
        known = self._rows.get((depth, number))
        if known is None:
            known = self._rows[depth, number] = np.flatnonzero(self.of[depth] == number)
        return known

    def above(self, depth: int, level: int) -> NDArray[np.int64]:
        """For every domain at `depth`, the number of the domain at `level` that it is in."""
        known = self._above.get((depth, level))
        if known is None:
            numbers = {path: number for number, path in enumerate(self.labels[level])}
            known = np.array([numbers[path[: level + 1]] for path in self.labels[depth]], dtype=np.int64)
            self._above[depth, level] = known
        return known

    def name(self, depth: int, number: int) -> str:
        """A domain for people: the level and its value."""
        level = self.topology.levels[depth]
        return f"{level.alias or level.label} '{'/'.join(self.labels[depth][number])}'"

    def sums(self, depth: int, per_row: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sum of a per-node amount over each domain of a level."""
        of = self.of[depth]
        inside = of >= 0
        total = np.bincount(of[inside], weights=per_row[: len(of)][inside], minlength=self.count(depth))
        return total.astype(np.int64)


def domains(state: ClusterState, topology: Topology) -> DomainIndex:
    """The index of a topology, made on first use and again when nodes have changed."""
    key = ("domains", topology)
    known: tuple[int, DomainIndex] | None = state.caches.get(key)
    if known is None or known[0] != state.layout:
        known = state.caches[key] = (state.layout, DomainIndex(state, topology))
    return known[1]


def copies(state: ClusterState, shape: Shape) -> NDArray[np.int64]:
    """How many pods of `shape` each node could take as it is, no more than `MOST` [rows].

    Affinity between pods and pinned labels are not asked: an upper bound.
    """
    live = state.live_classes()
    numbers = fitting(state, live.tolist(), shape)
    per_class = np.zeros(len(state.classes) + 1, dtype=np.int64)  # The last entry serves rows without a node (-1).
    if numbers:
        view = ClassView(state, np.array(numbers, dtype=np.int64))
        most = np.full(len(view), MOST, dtype=np.int64)
        for column, amount in shape.asked:
            most = np.minimum(most, view.free[:, column] // amount)
        if shape.count:
            if shape.whole:
                most = np.minimum(most, view.idle // shape.count)
            else:
                per_device = (view.devices // shares(view, shape)[:, None]).sum(axis=1)
                most = np.minimum(most, per_device // shape.count)
        if shape.spec.host_ports:
            most = np.minimum(most, 1)
        per_class[view.ids] = np.maximum(most, 0)
    counts: NDArray[np.int64] = per_class[state.node_class[: len(state.nodes)]]
    return counts
