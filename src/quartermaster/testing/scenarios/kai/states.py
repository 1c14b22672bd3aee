"""Where every task of a case is, and what happens to it between two sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quartermaster.testing.scenarios.kai.case import PLACED, Case, Job, Status, Task


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
    names, in order, then to whole devices. Tasks beyond the last device (a case may overbook a node) sit on it again.
    """
    states = {task.task_id: Standing(task.state, task.node_name) for _, task in case.tasks}
    for node in case.nodes:
        here = sorted(
            (task for _, task in case.tasks if task.node_name == node.name and task.state in PLACED),
            key=lambda task: task.task_id,
        )
        names = sorted({name for task in here if task.gpu_request.is_shared_gpu_request for name in groups_of(task)})
        index = {name: number for number, name in enumerate(names)}
        given, last = len(index), round(node.allocatable.gpu_count)
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
