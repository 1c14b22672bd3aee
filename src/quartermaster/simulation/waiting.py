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
from heapq import merge
from typing import Any, Protocol

from quartermaster.simulation.progress import Places, Progress, order_of

DEPTH = 100
"""Jobs of each size that are tried as backfill (Slurm's `bf_max_job_test` is the like of it)."""


class Capacity(Protocol):
    """What is free."""

    free: int
    """GPUs that nobody holds."""
    total: int

    def fits(self, gpus: int) -> bool:
        """Whether a job of so many GPUs could start."""
        ...

    def first_fit(self, gpus: int) -> Places:
        """The places that a job which fits gets by first fit."""
        ...

    def has(self, places: Places) -> bool:
        """Whether these are all free."""
        ...

    def take(self, places: Places) -> None:
        """Somebody holds these."""
        ...

    def give(self, places: Places) -> None:
        """Nobody holds these any more."""
        ...

    def mark(self) -> Any:
        """What is free now, for `back`."""
        ...

    def back(self, mark: Any) -> None:
        """Make free what was free at a mark, which is used up."""
        ...


class Pool:
    """GPUs as a number. The places of a job are how many it has, of node 0."""

    def __init__(self, gpus: int) -> None:
        self.free = self.total = gpus

    def fits(self, gpus: int) -> bool:
        """Whether so many are free."""
        return gpus <= self.free

    def first_fit(self, gpus: int) -> Places:
        """Any are as good as others."""
        return ((0, gpus),)

    def has(self, places: Places) -> bool:
        """Whether as many are free."""
        return places[0][1] <= self.free

    def take(self, places: Places) -> None:
        """So many fewer are free."""
        self.free -= places[0][1]

    def give(self, places: Places) -> None:
        """So many more are free."""
        self.free += places[0][1]

    def mark(self) -> Any:
        """The number."""
        return self.free

    def back(self, mark: Any) -> None:
        """The number again."""
        self.free = mark


class Room:
    """GPUs of equal nodes. The places of a job are bit masks of devices by node."""

    def __init__(self, *, nodes: int, gpus_per_node: int) -> None:
        self._size = gpus_per_node
        self._idle = (1 << gpus_per_node) - 1
        self._masks = [self._idle] * nodes
        self._nodes = [0] * gpus_per_node + [nodes]
        self.free = self.total = nodes * gpus_per_node

    def fits(self, gpus: int) -> bool:
        """Whether a gang of so many GPUs finds whole nodes, and one more node for the rest."""
        full, rest = divmod(gpus, self._size)
        idle = self._nodes[-1]
        if idle < full:
            return False
        if not rest or idle > full:
            return True
        return any(self._nodes[rest:-1])

    def first_fit(self, gpus: int) -> Places:
        """The lowest idle nodes, then the lowest node that has room for the rest."""
        full, rest = divmod(gpus, self._size)
        places = []
        row = -1
        for _ in range(full):
            row = self._masks.index(self._idle, row + 1)
            places.append((row, self._idle))
        if rest:
            whole = {row for row, _ in places}
            masks = enumerate(self._masks)
            row, free = next((row, m) for row, m in masks if m.bit_count() >= rest and row not in whole)
            places.append((row, _lowest(free, rest)))
        return tuple(places)

    def most_free(self, gpus: int) -> Places:
        """So many devices from the node that has most free, then the next, the lowest among equals."""
        by_free = sorted(range(len(self._masks)), key=lambda row: -self._masks[row].bit_count())
        places = []
        for row in by_free:
            part = min(gpus, self._masks[row].bit_count())
            places.append((row, _lowest(self._masks[row], part)))
            gpus -= part
            if not gpus:
                break
        return tuple(places)

    def has(self, places: Places) -> bool:
        """Whether these devices are all free."""
        masks = self._masks
        return all(masks[row] & mask == mask for row, mask in places)

    def take(self, places: Places) -> None:
        """Somebody holds these devices, which were free."""
        masks, nodes = self._masks, self._nodes
        for row, mask in places:
            had = masks[row]
            masks[row] = has = had & ~mask
            before, after = had.bit_count(), has.bit_count()
            nodes[before] -= 1
            nodes[after] += 1
            self.free += after - before

    def give(self, places: Places) -> None:
        """Nobody holds these devices any more."""
        masks, nodes = self._masks, self._nodes
        for row, mask in places:
            had = masks[row]
            masks[row] = has = had | mask
            before, after = had.bit_count(), has.bit_count()
            nodes[before] -= 1
            nodes[after] += 1
            self.free += after - before

    def mark(self) -> Any:
        """Copies: cheaper than undoing what a replan does."""
        return self._masks.copy(), self._nodes.copy(), self.free

    def back(self, mark: Any) -> None:
        """The copies become the original."""
        self._masks, self._nodes, self.free = mark


def _lowest(mask: int, count: int) -> int:
    """The lowest so many bits of a mask."""
    left = mask
    for _ in range(count):
        left &= left - 1
    return mask ^ left


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

    def could_start(self, room: Capacity) -> list[Progress]:
        """The jobs to decide on when none that runs may be touched: those that could start, and who holds these up.

        A queue's turn depends on the size of its next job, so of several queues one job that cannot start matters too:
        the largest in front of each that could. A smaller one is passed whenever that is.
        """
        lines = self._lines.items()
        chosen = {key: line[: room.free // key[1]] for key, line in lines if room.fits(key[1])}
        found = [progress for part in chosen.values() for progress in part]
        if len({queue for queue, _ in chosen}) > 1:
            found.extend(self._in_front(chosen))
        return found

    def in_turn(self, room: Capacity) -> list[Progress]:
        """The jobs that start when nobody passes: in order, until one does not fit. For first fit."""
        mark, found = room.mark(), []
        for progress in merge(*self._lines.values(), key=order_of):
            if not room.fits(progress.job.gpus):
                break
            room.take(room.first_fit(progress.job.gpus))
            found.append(progress)
        room.back(mark)
        return found

    def could_pass(self, room: Capacity) -> list[Progress]:
        """The jobs to decide on when only those may pass that delay nobody: who could start, and the first who cannot.

        Whether a job may pass depends on how long it runs, so of each queue and size `DEPTH` jobs are looked at.
        """
        fits = {size: room.fits(size) for _, size in self._lines}
        if not any(fits.values()):
            return []
        lines = self._lines.items()
        return [p for (_, size), line in lines for p in line[: DEPTH if fits[size] else 1]]

    def _in_front(self, chosen: dict[tuple[str, int], list[Progress]]) -> Iterator[Progress]:
        sizes = sorted({size for _, size in self._lines}, reverse=True)
        for queue in {queue for queue, _ in chosen}:
            own = sorted((p for (name, _), part in chosen.items() if name == queue for p in part), key=order_of)
            after: tuple[Any, ...] = ()
            for progress in own:
                for size in sizes:
                    line = self._lines.get((queue, size), [])
                    index = bisect_left(line, after, lo=len(chosen.get((queue, size), ())), key=order_of)
                    if index < len(line) and line[index].order < progress.order:
                        yield line[index]
                        break
                after = progress.order

    def following(self, progress: Progress) -> Progress | None:
        """The next job of the same queue and size."""
        line = self._lines[progress.group.queue, progress.job.gpus]
        index = bisect_left(line, progress.order, key=order_of) + 1
        return line[index] if index < len(line) else None

    def first(self, room: Capacity) -> list[Progress]:
        """Of each queue and size as many as the whole cluster could hold: nobody else can start, whoever stops."""
        return [progress for (_, size), line in self._lines.items() for progress in line[: room.total // size]]
