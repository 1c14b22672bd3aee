"""How many GPUs of a node are idle, and how many are about to be, the way KAI counts them.

A device that tasks share counts as one: it is in use while anybody holds a part of it, and about to be given back when
all its holders leave and nobody waits for it. A task that waits for a device takes from what is about to come. So idle
may be negative on a node that is overbooked, and releasing where something idle was promised. Deduced from the
recorded figures: it gives 1,061 of the 1,065 that are recorded, all but those of a claim that two pods share and of a
device that KAI's harness made up beyond those there are.
"""

from __future__ import annotations

from quartermaster.testing.scenarios.kai.case import Case, Node, Status
from quartermaster.testing.scenarios.kai.rounds import Round
from quartermaster.testing.scenarios.kai.states import gpus_of

HOLDS = frozenset({Status.ALLOCATED, Status.BINDING, Status.BOUND, Status.RUNNING, Status.STUCK, Status.RELEASING})


def idle_and_releasing(case: Case, node: Node, done: Round) -> tuple[int, int]:
    """GPUs of `node` that are idle and that are being released after a round."""
    idle, releasing = round(node.allocatable.gpu_count), 0
    shared: dict[int, list[Status]] = {}
    for _, task in case.tasks:
        for status, devices in _places(task.task_id, node.name, done):
            if task.gpu_request.is_shared_gpu_request:
                for device in devices:
                    shared.setdefault(device, []).append(status)
                continue
            count = gpus_of(task)
            idle -= count * (status in HOLDS)
            releasing += count * ((status is Status.RELEASING) - (status is Status.PIPELINED))
    for holders in shared.values():
        waiting = Status.PIPELINED in holders
        if not any(status in HOLDS for status in holders):
            releasing -= 1
            continue
        idle -= 1
        leaving = all(status in {Status.RELEASING, Status.PIPELINED} for status in holders)
        releasing += leaving and not waiting
    return idle, releasing


def _places(task: str, node: str, done: Round) -> list[tuple[Status, tuple[int, ...]]]:
    """What a task holds on a node: what it has now, and what it leaves to go elsewhere."""
    now, before = done.after[task], done.before[task]
    places = [(now.status, now.devices)] if now.node == node else []
    if task in done.evicted and now.status is Status.PIPELINED and before.node == node:
        places.append((Status.RELEASING, before.devices))
    return places


def zone_cores(case: Case, node: Node, zone: int, done: Round) -> float:
    """Cores left in a NUMA zone after a round; a task in several zones fills them in order."""
    assert node.numa is not None, "asked only of nodes that have zones"
    left = {index: float(have.available.cpu_milli) for index, have in enumerate(node.numa.zones)}
    for _, task in case.tasks:
        before, now = done.before[task.task_id], done.after[task.task_id]
        new = now.node == node.name and before.status is Status.PENDING and now.status in HOLDS | {Status.PIPELINED}
        gone = before.node == node.name and before.status in HOLDS and now.status is Status.RELEASING
        rest = float(task.request.cpu_milli)
        for index in sorted(done.zones.get(task.task_id, ())) if new or gone else ():
            part = min(rest, left[index]) if new else rest
            left[index] += part if gone else -part
            rest -= part
    return left[zone] / 1000
