"""Where pods go: runs of equal pods are put on nodes, exactly as if they had been put there one by one.

Three ways, one meaning:

* **by class**, the usual one. The best node keeps the lead while its score does not fall, so its next pods and those of
  its equals follow at once: k nodes that go through the same states are one vector operation.
* **by node**, for pods that see differences inside a class (affinity between pods, host names).
* **at random**, for the policy of that name.

Each can be kept to some rows, which is how topology domains and single nodes are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quartermaster.cluster.assignment import Batch
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Checkpoint, Statement
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.domains import Rows, copies
from quartermaster.scheduling.filters import NodeRules, fitting, shares
from quartermaster.scheduling.frontier import Frontier, Within, frontier
from quartermaster.scheduling.plan import Placed
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.view import ClassView


class Rng(Protocol):
    """The random numbers that a cycle is given (a NumPy generator fits)."""

    def integers(self, low: int, high: int) -> int:
        """A number from low (included) to high (excluded), all equally likely."""
        ...


class Mark(NamedTuple):
    """A point to which a placer can go back: pods placed, statement, and what else a placer counts."""

    placed: int
    statement: Checkpoint
    more: tuple[int, int] = (0, 0)


class Placer:
    """Places pods on a statement under one policy, and keeps the list of what it placed."""

    def __init__(self, statement: Statement, *, policy: PlacementPolicy, rng: Rng) -> None:
        self.statement = statement
        self.state: ClusterState = statement.state
        self.placed = Placed()
        self._policy = policy
        self._rng = rng

    def place(self, names: Sequence[str], shape: Shape, account: int, rows: Rows | None = None) -> int:
        """Place as many of these equal pods as fit (on `rows`, if given), in order; returns how many did."""
        if self._policy.randomised:
            return self._one_by_one(names, shape, account, rows)
        if self._by_node(shape):
            return self._on_nodes(names, shape, account, rows)
        return self._on_classes(names, shape, account, rows)

    def mark(self) -> Mark:
        """The present point."""
        return Mark(len(self.placed.pods), self.statement.checkpoint())

    def undo(self, mark: Mark) -> None:
        """Take back everything since `mark`."""
        self.statement.rollback(mark.statement)
        self.placed.truncate(mark.placed)

    def capacity(self, shape: Shape) -> NDArray[np.int64]:
        """An upper bound of the pods of `shape` that each node could be made to take [rows]."""
        return copies(self.state, shape)

    def _by_node(self, shape: Shape) -> bool:
        return (shape.constrained or bool(self.state.affinity.terms)) and NodeRules(self.state, shape).active

    def _put(self, pod: str, shape: Shape, row: int, mask: int, account: int) -> None:
        self.statement.place(pod, shape, row, mask, account)
        placed = self.placed
        placed.pods.append(pod)
        placed.shapes.append(shape)
        placed.rows.append(row)
        placed.masks.append(mask)

    # ---- by class

    def _on_classes(self, names: Sequence[str], shape: Shape, account: int, rows: Rows | None) -> int:
        whole = frontier(self.state, shape, self._policy)
        best = whole if rows is None else Within(self.state, whole, rows)
        done, total = 0, len(names)
        while done < total:
            entry = best.top()
            if entry is None:
                break
            _, row, number = entry
            if total - done == 1:
                self._put(names[done], shape, row, self._mask(row, shape, best.level.get(number, 0)), account)
                return total
            done += self._lead(best, entry, names[done:], shape, account)
        return done

    def _lead(
        self, best: Frontier | Within, entry: tuple[float, int, int], names: Sequence[str], shape: Shape, account: int
    ) -> int:
        """Place the pods that the leading class gets before any other class is asked; returns how many."""
        cost, _, number = entry
        path = self._path(best, number, limit=len(names))
        rival = best.without(number)
        rows = best.rows_of(number)
        if rival is not None and rival[0] == cost:
            rows = rows[: int(np.searchsorted(rows, rival[1]))]
        full, rest = divmod(len(names), len(path))
        rows, partial = rows[: full + 1], rest if len(rows) > full else 0
        whole = rows[:full]
        if len(whole):
            self._batch(names[: len(whole) * len(path)], shape, account, whole, path)
        done = len(whole) * len(path)
        if partial:
            self._batch(names[done : done + partial], shape, account, rows[full : full + 1], path[:partial])
        return done + partial

    def _path(self, best: Frontier | Within, number: int, *, limit: int) -> list[tuple[int, int]]:
        """What one node of the leading class goes through while it leads: (level used, class after) per pod."""
        path: list[tuple[int, int]] = []
        cost = best.cost[number]
        assert cost is not None, "the leading class fits"
        while len(path) < limit:
            level = best.level.get(number, 0)
            number = self.state.classes.after(number, best.shape, level)
            path.append((level, number))
            best.know([number])
            after = best.cost[number]
            if after is None or after > cost:
                break
        return path

    def _batch(
        self, names: Sequence[str], shape: Shape, account: int, rows: NDArray[np.int64], path: list[tuple[int, int]]
    ) -> None:
        state = self.state
        before = int(state.node_class[rows[0]])
        share = int(shares(ClassView(state, np.array([before])), shape)[0]) if shape.count else 0
        free = state.gpu_free[rows]
        had = free.copy()
        masks = np.zeros((len(rows), len(path)), dtype=np.uint64)
        if shape.count:
            bits = np.uint64(1) << np.arange(free.shape[1], dtype=np.uint64)
            for step, (level, _) in enumerate(path):
                chosen = _choose(free, shape, share, level)
                masks[:, step] = (chosen * bits).sum(axis=1, dtype=np.uint64)
                free -= (chosen * share).astype(np.int32)
        batch = Batch(
            pods=list(names),
            shape=shape,
            share=share,
            account=account,
            rows=rows,
            masks=masks,
            taken=had - free,
            before=before,
            after=path[-1][1],
        )
        self.statement.place_many(batch)
        placed = self.placed
        placed.pods.extend(batch.pods)
        placed.shapes.extend([shape] * len(names))
        placed.rows.extend(np.repeat(rows, len(path)).tolist())
        placed.masks.extend(masks.reshape(-1).tolist())

    def _mask(self, row: int, shape: Shape, level: int) -> int:
        """The devices that a pod gets on a node, as bits."""
        if not shape.count:
            return 0
        if shape.whole or shape.count == 1:
            wanted = DEVICE if shape.whole else level
            mask = left = 0
            left = shape.count
            for index, free in enumerate(self.state.gpu_free[row].tolist()):
                if free == wanted:
                    mask |= 1 << index
                    left -= 1
                    if not left:
                        return mask
            raise AssertionError("a class promised devices that its node does not have")
        share = shape.share_on(self.state.profile(row).gpu_memory) or DEVICE
        chosen = _choose(self.state.gpu_free[row : row + 1], shape, share, 0)[0]
        return sum(1 << int(index) for index in np.flatnonzero(chosen))

    # ---- by node

    def _on_nodes(self, names: Sequence[str], shape: Shape, account: int, only: Rows | None) -> int:
        state = self.state
        best = frontier(state, shape, self._policy)
        best.top()
        rules = NodeRules(state, shape)
        rows = np.flatnonzero(state.node_class >= 0) if only is None else only[state.node_class[only] >= 0]
        best.know(np.unique(state.node_class[rows]).tolist())
        heap = [
            (cost, row)
            for row, number in zip(rows.tolist(), state.node_class[rows].tolist(), strict=True)
            if (cost := best.cost[number]) is not None
        ]
        heapify(heap)
        done = 0
        parked: list[tuple[float, int]] = []
        while done < len(names) and heap:
            cost, row = heappop(heap)
            if rules.reason(row) is not None:
                parked.append((cost, row))
                continue
            number = int(state.node_class[row])
            self._put(names[done], shape, row, self._mask(row, shape, best.level.get(number, 0)), account)
            done += 1
            number = int(state.node_class[row])
            best.know([number])
            after = best.cost[number]
            if after is not None:
                heappush(heap, (after, row))
            if shape.spec.affinity and parked:
                # A placed pod may be the company that another node's domain was missing.
                for entry in parked:
                    heappush(heap, entry)
                parked.clear()
        return done

    # ---- at random

    def _one_by_one(self, names: Sequence[str], shape: Shape, account: int, only: Rows | None) -> int:
        state = self.state
        rules = NodeRules(state, shape) if self._by_node(shape) else None
        for done, name in enumerate(names):
            live = state.live_classes()
            fits = np.zeros(len(state.classes) + 1, dtype=np.bool_)
            fits[fitting(state, live.tolist(), shape)] = True
            rows = np.flatnonzero(fits[state.node_class]) if only is None else only[fits[state.node_class[only]]]
            if rules is not None:
                rows = np.array([row for row in rows.tolist() if rules.reason(row) is None], dtype=np.int64)
            if not len(rows):
                return done
            row = int(rows[int(self._rng.integers(0, len(rows)))])
            level = 0
            if shape.count == 1 and not shape.whole:
                share = shape.share_on(state.profile(row).gpu_memory) or DEVICE
                room = [free for free in state.gpu_free[row].tolist() if free >= share]
                level = room[int(self._rng.integers(0, len(room)))]
            self._put(name, shape, row, self._mask(row, shape, level), account)
        return len(names)


class Patient(Placer):
    """A placer for a time at which pods have left: nodes where nobody has to leave first are taken first.

    `busy` are the rows of the others.
    """

    def __init__(self, statement: Statement, *, policy: PlacementPolicy, rng: Rng, busy: Rows) -> None:
        super().__init__(statement, policy=policy, rng=rng)
        self._busy = busy

    def place(self, names: Sequence[str], shape: Shape, account: int, rows: Rows | None = None) -> int:
        """Place on nodes that are ready first, then on all."""
        ready = np.setdiff1d(np.arange(len(self.state.nodes)) if rows is None else rows, self._busy)
        done = super().place(names, shape, account, ready)
        if done < len(names):
            done += super().place(names[done:], shape, account, rows)
        return done


def _choose(free: NDArray[np.int32], shape: Shape, share: int, level: int) -> NDArray[np.bool_]:
    """The devices that the next pod takes on each node: a mask like `free` [nodes, devices], lowest index first."""
    if shape.whole or shape.count == 1:
        fits = free == (DEVICE if shape.whole else level)
        return fits & (fits.cumsum(axis=1) <= shape.count)
    order = np.argsort(np.where(free >= share, free, np.iinfo(np.int32).max), axis=1, kind="stable")
    chosen = np.zeros(free.shape, dtype=np.bool_)
    np.put_along_axis(chosen, order[:, : shape.count], values=True, axis=1)
    return chosen
