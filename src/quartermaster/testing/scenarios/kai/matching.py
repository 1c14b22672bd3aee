"""Whether a round is what the case expects: the checks of section 4 of the format, one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from quartermaster.model.units import CPU
from quartermaster.testing.scenarios.kai.case import ALLOCATED, Case, ExpectedNode, ExpectedTasks, Node, Task
from quartermaster.testing.scenarios.kai.ledger import idle_and_releasing, zone_cores
from quartermaster.testing.scenarios.kai.rounds import Round
from quartermaster.testing.scenarios.kai.session import LAST_START_AGE

CLOSE = 1e-6


def differences(case: Case, done: Round) -> Iterator[str]:
    """All that is not as expected after a round; nothing for a round that is not to be matched."""
    if not done.matched:
        return
    for job in case.jobs:
        if (expected := case.expected.jobs.get(job.name)) is not None:
            yield from _tasks(case, f"job {job.name}", job.tasks, expected, done)
    for _, task in case.tasks:
        if (expected := case.expected.tasks.get(task.task_id)) is not None:
            yield from _tasks(case, f"task {task.task_id}", [task], expected, done)
    for node in case.nodes:
        if (wanted := case.expected.nodes.get(node.name)) is not None:
            yield from _node(case, node, wanted, done)


def _node(case: Case, node: Node, wanted: ExpectedNode, done: Round) -> Iterator[str]:
    idle, releasing = idle_and_releasing(case, node, done)
    if (idle, releasing) != (wanted.idle_gpus, wanted.releasing_gpus):
        yield (
            f"node {node.name}: {idle} GPUs idle and {releasing} releasing, "
            f"expected {wanted.idle_gpus:g} and {wanted.releasing_gpus:g}"
        )
    for zone, amounts in (wanted.numa_zones_available or {}).items():
        cores = zone_cores(case, node, zone, done)
        if CPU in amounts and cores != float(amounts[CPU]):
            yield f"node {node.name}: {cores:g} cores left in NUMA zone {zone}, expected {amounts[CPU]}"


def _tasks(case: Case, what: str, tasks: Sequence[Task], expected: ExpectedTasks, done: Round) -> Iterator[str]:
    for task in tasks:
        now = done.after[task.task_id]
        if now.status is not expected.status:
            yield f"{what}: {task.task_id} is {now.status.value}, expected {expected.status.value}"
        if expected.node_name and now.node != expected.node_name:
            yield f"{what}: {task.task_id} is on {now.node or 'no node'}, expected {expected.node_name}"
        zones = sorted(done.zones.get(task.task_id, ()))
        if expected.numa_zones is not None and zones != sorted(expected.numa_zones):
            yield f"{what}: {task.task_id} is in NUMA zones {zones}, expected {sorted(expected.numa_zones)}"
    sums = (
        ("GPUs asked for", expected.gpus_required, sum(task.gpu_request.gpu_count for task in tasks)),
        ("GPUs held", expected.gpus_accepted, sum(_held(case, task, done) for task in tasks)),
        ("millicores asked for", expected.cpu_milli_required, sum(task.request.cpu_milli for task in tasks)),
        ("bytes asked for", expected.memory_bytes_required, sum(task.request.memory_bytes for task in tasks)),
    )
    for name, wanted, have in sums:
        if wanted is not None and not math.isclose(have, wanted, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{what}: {have:g} {name}, expected {wanted:g}"
    if expected.status in ALLOCATED:
        yield from _last_start(what, tasks, expected.last_start_older_than_seconds or 0, done)


def _held(case: Case, task: Task, done: Round) -> float:
    """GPUs that a task holds, in devices; what was asked by memory is a share of the node's devices."""
    node = done.after[task.task_id].node
    ask = task.gpu_request
    if not node:
        return 0.0
    if not ask.gpu_memory_mib_per_device:
        return ask.gpu_count
    memory = next(one.gpu_memory_mib_per_device for one in case.nodes if one.name == node)
    return ask.device_count * ask.gpu_memory_mib_per_device / memory


def _last_start(what: str, tasks: Sequence[Task], older: float, done: Round) -> Iterator[str]:
    age = done.last_start_age([task.task_id for task in tasks], default=LAST_START_AGE)
    if age is None:
        yield f"{what}: never started"
    elif age < older:
        yield f"{what}: last started {age:g} s ago, expected {older:g} s or more"


def excesses(case: Case, done: Round) -> Iterator[str]:
    """Where a round committed more calls than the case allows in one session."""
    limits = case.call_limits
    for name, made, most in (
        ("binds", done.binds, limits.max_binds),
        ("evictions", len(done.evicted), limits.max_evictions),
        ("pipelines", done.pipelines, limits.max_pipelines),
    ):
        if made > most:
            yield f"{made} {name} in one session, at most {most} allowed"
