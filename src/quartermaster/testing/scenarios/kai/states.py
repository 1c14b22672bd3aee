"""Where every task of a case is, and what happens to it between two sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quartermaster.testing.scenarios.kai.case import PLACED, Case, Job, Node, Status, Task


@dataclass(frozen=True, slots=True)
class Standing:
    """A task's status, its node ("" for none) and the indexes of its GPUs there."""

    status: Status
    node: str = ""
    devices: tuple[int, ...] = ()


States = Mapping[str, Standing]
"""Standing by task id."""

PENDING = Standing(Status.PENDING)


def gpus_of(task: Task) -> int:
    """How many devices a task sits on."""
    ask = task.gpu_request
    if ask.is_shared_gpu_request:
        return ask.device_count
    return round(ask.gpu_count) + sum(ask.dra_gpu_counts.values())


def initial(case: Case) -> dict[str, Standing]:
    """The states that a case begins with.

    A case names the devices that are shared and no others, so indexes are given out here: on each node first to the
    names, in order, then to whole devices. Where that is more than there is, shared devices with room for each other
    are one (KAI's harness makes up a device for each sharing task that names none); what is still too much, because a
    case may overbook a node, sits on the last devices again.
    """
    states = {task.task_id: Standing(task.state, task.node_name) for _, task in case.tasks}
    for node in case.nodes:
        here = sorted(
            (task for _, task in case.tasks if task.node_name == node.name and task.state in PLACED),
            key=lambda task: task.task_id,
        )
        last = round(node.allocatable.gpu_count)
        sharing = [task for task in here if task.gpu_request.is_shared_gpu_request]
        whole = sum(gpus_of(task) for task in here if not task.gpu_request.is_shared_gpu_request)
        index = _indexes(node, sharing, have=last - whole)
        given = max(index.values(), default=-1) + 1
        for task in here:
            if task.gpu_request.is_shared_gpu_request:
                devices = tuple(sorted(index[name] for name in groups_of(task)))
            else:
                count = min(gpus_of(task), last)
                start = min(given, last - count)
                given = start + count
                devices = tuple(range(start, start + count))
            states[task.task_id] = Standing(task.state, node.name, devices)
    return states


def _indexes(node: Node, sharing: Sequence[Task], *, have: int) -> dict[str, int]:
    """An index for every name of a shared device; names share one only if there are more of them than `have`."""
    used: dict[str, float] = {}
    apart: set[str] = set()
    for task in sharing:
        ask = task.gpu_request
        share = ask.portion_per_device or ask.gpu_memory_mib_per_device / max(1, node.gpu_memory_mib_per_device)
        for name in groups_of(task):
            used[name] = used.get(name, 0.0) + share
        if ask.device_count > 1:
            apart.update(groups_of(task))
    index: dict[str, int] = {}
    filled: list[float] = []
    surplus = len(used) - max(0, have)
    for name in sorted(used):
        fits = (number for number, share in enumerate(filled) if share + used[name] <= 1)
        joined = next(fits, None) if surplus > 0 and name not in apart else None
        if joined is None:
            index[name] = len(filled)
            filled.append(used[name])
        else:
            index[name] = joined
            filled[joined] += used[name]
            surplus -= 1
    return index


def groups_of(task: Task) -> list[str]:
    """The names of the devices that a shared task sits on at the beginning."""
    return task.resolved_gpu_groups or task.gpu_groups


def bumped(case: Case, states: States) -> dict[str, Standing]:
    """The states that the next session begins with: what was decided has come to pass."""
    return {task.task_id: _next(job, states[task.task_id]) for job, task in case.tasks}


def _next(job: Job, now: Standing) -> Standing:
    if now.status is Status.PIPELINED or (now.status is Status.RELEASING and not job.delete_in_test):
        return PENDING
    if now.status is Status.BINDING:
        return Standing(Status.RUNNING, now.node, now.devices)
    return now
