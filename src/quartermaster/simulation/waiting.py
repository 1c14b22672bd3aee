"""Who waits, and whether he could start: what spares the simulation a cycle in which nothing can happen.

A job is a gang of whole nodes and a rest, so two things decide whether one fits: how many nodes are idle, and the
largest part that is free on another. `Room` keeps these as numbers. It answers exactly what the cycle would find out
by trying, whatever the placement policy, because a policy chooses among places and never adds one.

Jobs of one queue and one size are interchangeable to the room: where one does not fit, none that comes after does, for
a cycle only ever fills the cluster. So `WaitingLine` keeps them together, and only the first few of each can start.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from quartermaster.simulation.progress import Progress, order_of


class Room:
    """Free GPUs of equal nodes."""

    def __init__(self, *, nodes: int, gpus_per_node: int) -> None:
        self._size = gpus_per_node
        self._free = [gpus_per_node] * nodes
        self._nodes = {gpus_per_node: nodes}
        self.free = nodes * gpus_per_node
        self.total = self.free

    def fits(self, gpus: int) -> bool:
        """Whether a gang of so many GPUs finds whole nodes, and one more node for the rest."""
        full, rest = divmod(gpus, self._size)
        idle = self._nodes.get(self._size, 0)
        if idle < full:
            return False
        if not rest or idle > full:
            return True
        return any(rest <= free < self._size for free in self._nodes)

    def take(self, progress: Progress) -> None:
        """The job holds its places."""
        for row, gpus in progress.places:
            self._change(row, -gpus)

    def give(self, progress: Progress) -> None:
        """The job's places are free."""
        for row, gpus in progress.places:
            self._change(row, gpus)

    def _change(self, row: int, gpus: int) -> None:
        nodes, free = self._nodes, self._free[row]
        self._free[row] = free + gpus
        self.free += gpus
        if nodes[free] == 1:
            del nodes[free]
        else:
            nodes[free] -= 1
        nodes[free + gpus] = nodes.get(free + gpus, 0) + 1


class WaitingLine:
    """The jobs that wait: by queue and size, each in its order."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], list[Progress]] = {}
        self._gpus: dict[str, int] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs that are waited for, by queue."""
        return self._gpus

    def add(self, progress: Progress) -> None:
        """A job waits; where, its `order` says, which stays as it is while it waits."""
        queue, size = progress.group.queue, progress.job.gpus
        insort(self._lines.setdefault((queue, size), []), progress, key=order_of)
        self._gpus[queue] = self._gpus.get(queue, 0) + size
        self._length += 1

    def remove(self, progress: Progress) -> None:
        """A job that waited does so no more."""
        queue, size = progress.group.queue, progress.job.gpus
        line = self._lines[queue, size]
        index = bisect_left(line, progress.order, key=order_of)
        assert line[index] is progress, "a job that waits keeps its order"
        del line[index]
        if not line:
            del self._lines[queue, size]
        self._gpus[queue] -= size
        self._length -= 1

    def heads(self) -> Iterator[Progress]:
        """The first of each queue and size."""
        return (line[0] for line in self._lines.values())

    def first(self, head: Progress, *, free: int) -> list[Progress]:
        """`head` and those of its queue and size behind it, as many as so many free GPUs could hold at all."""
        size = head.job.gpus
        return self._lines[head.group.queue, size][: free // size]
