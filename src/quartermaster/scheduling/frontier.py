"""The best class for a shape, kept lazily: one heap per policy and shape, shared by all cycles on a state.

An entry is (-score, lowest row of the class, class). Scores never change, since a class is its state; what changes is
which classes have nodes. The state lists the rows that moved; when a shape is asked for, its frontier looks at the
rows that moved since it was last asked and scores the classes that it has not seen, all in one vector operation. So
a decision costs what changed, not the number of nodes.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.scheduling.filters import FEW, fitting, shares
from quartermaster.scheduling.policies.base import PlacementPolicy, Scorer, ScoresOne
from quartermaster.scheduling.view import ClassView

Entry = tuple[float, int, int]
"""(-score, row, class): the smallest is next."""


class Frontier:
    """Classes that fit one shape, best first.

    `cost` maps a class to its negated score (None: does not fit), `level` to the free share of the device to share.
    """

    def __init__(self, state: ClusterState, shape: Shape, scorer: Scorer) -> None:
        self._state = state
        self.shape = shape
        self._scorer = scorer
        self._one = scorer if isinstance(scorer, ScoresOne) else None
        self.cost: dict[int, float | None] = {}
        self.level: dict[int, int] = {}
        self._heap: list[Entry] = []
        self._cursor = len(state.moved)
        self._dry_at = -1
        self._refill()

    def _refill(self) -> None:
        classes = self._state.live_classes().tolist()
        self.know(classes)
        first = self._state.first
        self._heap = [(cost, first(c), c) for c in classes if (cost := self.cost[c]) is not None]
        heapify(self._heap)

    def know(self, classes: list[int]) -> None:
        """Score the classes that have not been seen yet."""
        new = [number for number in classes if number not in self.cost]
        if not new:
            return
        self.cost.update(dict.fromkeys(new))
        numbers = fitting(self._state, new, self.shape)
        if not numbers:
            return
        if self._one is not None and len(numbers) <= FEW:
            for number in numbers:
                self._know_one(self._one, number)
            return
        view = ClassView(self._state, np.array(numbers, dtype=np.int64))
        scores = self._scorer.score(view, self.shape)
        self.cost.update(zip(numbers, (-scores.score).tolist(), strict=True))
        if self.shape.count == 1 and not self.shape.whole:
            level = scores.level if scores.level is not None else _tightest(view, self.shape)
            self.level.update(zip(numbers, level.tolist(), strict=True))

    def _know_one(self, scorer: ScoresOne, number: int) -> None:
        score, level = scorer.score_one(self._state, number, self.shape)
        self.cost[number] = -score
        if level is not None:
            self.level[number] = level
        elif self.shape.count == 1 and not self.shape.whole:
            profile, _, devices, _, _ = self._state.classes.keys[number]
            share = self.shape.share_on(self._state.classes.profiles[profile].gpu_memory)
            assert share is not None, "the class fits"
            self.level[number] = next(free for free in reversed(devices) if free >= share)

    def top(self) -> Entry | None:
        """The best entry, which stays; None when no node fits."""
        state = self._state
        if self._dry_at == state.returns:
            return None  # Nothing fitted, and since then nodes have only become fuller.
        if self._cursor < len(state.moved):
            self._sync()
        heap = self._heap
        while heap:
            entry = heap[0]
            number = entry[2]
            if not state.count(number):
                heappop(heap)
                continue
            row = state.first(number)
            if row == entry[1]:
                return entry
            heapreplace(heap, (entry[0], row, number))
        self._dry_at = state.returns
        return None

    def without(self, number: int) -> Entry | None:
        """The best entry of any other class."""
        heap = self._heap
        kept: list[Entry] = []
        while (entry := self.top()) is not None and entry[2] == number:
            if not kept:
                kept.append(entry)
            heappop(heap)
        self._dry_at = -1
        for own in kept:
            heappush(heap, own)
        return entry

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """All nodes of a class, ascending."""
        return self._state.rows_of(number)

    def _sync(self) -> None:
        state = self._state
        moved = state.moved[self._cursor :]
        self._cursor = len(state.moved)
        if len(moved) > len(self._heap) + len(state.rows):
            self._refill()
            return
        first, at, cost = state.first, state.class_at, self.cost
        fresh: dict[int, int] = {}
        for row in set(moved):
            number = at[row]
            if number >= 0 and cost.get(number, 0.0) is not None and first(number) == row:
                fresh[number] = row
        self.know(list(fresh))
        for number, row in fresh.items():
            own = cost[number]
            if own is not None:
                heappush(self._heap, (own, row, number))


class Within:
    """A frontier seen through some rows only (a topology domain, one node): the same costs, fewer nodes.

    Made for one placement; looks at its rows again whenever the state has changed.
    """

    def __init__(self, state: ClusterState, whole: Frontier, rows: NDArray[np.int64]) -> None:
        self._state, self._whole, self._rows = state, whole, rows
        self.shape, self.cost, self.level, self.know = whole.shape, whole.cost, whole.level, whole.know
        self._entries: list[Entry] = []
        self._at = -1

    def top(self) -> Entry | None:
        """The best entry; None when none of the rows fits."""
        if self._at != self._state.generation:
            self._look()
        return self._entries[0] if self._entries else None

    def without(self, number: int) -> Entry | None:
        """The best entry of any other class."""
        return next((entry for entry in self._entries if entry[2] != number), None)

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """Those of the rows that are in a class, ascending."""
        return self._rows[self._state.node_class[self._rows] == number]

    def _look(self) -> None:
        numbers, first = np.unique(self._state.node_class[self._rows], return_index=True)
        classes = [number for number in numbers.tolist() if number >= 0]
        self.know(classes)
        rows = self._rows[first].tolist()
        found = [
            (cost, row, number)
            for number, row in zip(numbers.tolist(), rows, strict=True)
            if number >= 0 and (cost := self.cost[number]) is not None
        ]
        self._entries = sorted(found)
        self._at = self._state.generation


def _tightest(view: ClassView, shape: Shape) -> NDArray[np.int64]:
    """The smallest free share that still has room, per class."""
    room = (view.devices >= shares(view, shape)[:, None]).sum(axis=1)
    return view.devices[np.arange(len(view)), room - 1].astype(np.int64)


def frontier(state: ClusterState, shape: Shape, policy: PlacementPolicy) -> Frontier:
    """The frontier of a shape under a policy, made on first use and kept with the state."""
    key = ("frontier", policy, shape.id)
    found: Frontier | None = state.caches.get(key)
    if found is None:
        scorer = state.caches.get(("scorer", policy))
        if scorer is None:
            scorer = state.caches[("scorer", policy)] = policy.bind(state)
        found = state.caches[key] = Frontier(state, shape, scorer)
    return found
