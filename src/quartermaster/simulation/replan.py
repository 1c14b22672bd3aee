"""Whom a replan could touch: so that jobs which keep their places anyway need not be taken off and put back.

A replan by first fit, in which running jobs keep their places if they can, is followed on the room's numbers first.
The cycle then decides on those jobs alone that start, move or stop. That is the same decision: whoever stays holds
nothing that a job in front of him took, so it makes no difference to the others whether he is taken off first.

`could_make_room` asks the same of a cycle that makes room for those that wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from quartermaster.simulation.progress import Places, Progress, order_of
from quartermaster.simulation.waiting import Capacity, WaitingLine


def touched(room: Capacity, line: WaitingLine, running: list[Progress]) -> list[Progress]:
    """The waiting jobs that a replan starts, and those of `running` (in order) whose places it takes for them."""
    first, rest = _from_first_change(room, line, running)
    if first is None:
        return []
    before = room.mark()
    for progress in rest:
        room.give(progress.places)
    heads = (head for head in line.heads() if head.order >= first.order)
    queue = [(progress.order, progress) for progress in (*rest, *heads)]
    heapify(queue)
    found = []
    while queue:
        progress = heappop(queue)[1]
        places = _places(room, progress)
        if places != (progress.places if progress.running else None):
            found.append(progress)
        if places is None:
            continue
        room.take(places)
        following = None if progress.running else line.following(progress)
        if following is not None:
            heappush(queue, (following.order, following))
    room.back(before)
    return found


def _from_first_change(
    room: Capacity, line: WaitingLine, running: list[Progress]
) -> tuple[Progress | None, list[Progress]]:
    """The first that waits and would fit beside the running jobs in front of him, and those behind him.

    The jobs in front keep their places, and who waits among them keeps waiting: nothing was freed for them.
    """
    first, behind, position = None, 0, len(running)
    before = room.mark()
    for head in sorted(line.heads(), key=order_of, reverse=True):
        while position and running[position - 1].order > head.order:
            position -= 1
            room.give(running[position].places)
        if room.fits(head.job.gpus):
            first, behind = head, position
    room.back(before)
    return first, running[behind:]


def _places(room: Capacity, progress: Progress) -> Places | None:
    """What the job gets: its own places if they are free, else the first that fit."""
    if progress.running and room.has(progress.places):
        return progress.places
    return room.first_fit(progress.job.gpus) if room.fits(progress.job.gpus) else None


def could_make_room(room: Capacity, line: WaitingLine, running: Iterable[Progress], *, queues: int) -> bool:
    """Whether making room could help anyone who waits: cheap, and never no where a cycle would say yes.

    Someone might be moved aside if there is enough free but in the wrong places; a job might preempt one of its queue
    that has a lower priority; and a queue that stays within its fair share might reclaim if another has, or may get,
    more than it deserves. All `queues` are entitled alike, so shares are those of one water level; a GPU of rounding
    is left on it.
    """
    held: dict[str, int] = {}
    lowest: dict[str, int] = {}
    for progress in running:
        queue, priority = progress.group.queue, progress.group.priority
        held[queue] = held.get(queue, 0) + progress.job.gpus
        lowest[queue] = min(lowest.get(queue, priority), priority)
    waits = {queue: gpus for queue, gpus in line.gpus.items() if gpus}
    demand = {queue: held.get(queue, 0) + waits.get(queue, 0) for queue in held | waits}
    level = _water_level(demand.values(), room.total)
    deserved = room.total / queues
    rich = {queue for queue in demand if held.get(queue, 0) + (room.free if queue in waits else 0) > deserved}
    for head in line.heads():
        queue, gpus = head.group.queue, head.job.gpus
        if gpus <= room.free and not room.fits(gpus):
            return True
        if lowest.get(queue, head.group.priority) < head.group.priority:
            return True
        if rich - {queue} and held.get(queue, 0) + gpus <= level + 1:
            return True
    return False


def _water_level(demand: Iterable[int], total: float) -> float:
    """The most that anyone gets when a total is divided evenly, and nobody gets more than he asks for."""
    rising = sorted(demand)
    for index, wanted in enumerate(rising):
        even = total / (len(rising) - index)
        if wanted > even:
            return even
        total -= wanted
    return float(rising[-1]) if rising else 0.0
