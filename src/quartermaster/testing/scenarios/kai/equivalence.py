"""Whether a round that is not as recorded serves everybody as well: section 8 of the format.

Each job has as many tasks in each status as expected, each queue has lost as many tasks to eviction, nothing that must
hold is broken, and nothing changes any more once it should not. A case that exists to test which node, domain, device
or task is chosen has no such second answer. What it tests is read off what is in it, never off its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from quartermaster.testing.scenarios.invariants import Scene, Seat, broken
from quartermaster.testing.scenarios.kai.case import PLACED, Case, Status
from quartermaster.testing.scenarios.kai.rounds import Round, recorded
from quartermaster.testing.scenarios.kai.session import groups_of_case, nodes_of_case, queue_tree, topologies

CHOICE_PLUGINS = frozenset({"nodeplacement", "gpupack", "gpuspread", "gpusharingorder", "resourcetype"})
"""Parts of KAI that do nothing but choose between nodes or devices on which a task fits."""


def tests_choice(case: Case) -> str:
    """What choice the case exists to test: `packing`, `topology`, `device sharing` or `order`; "" for none.

    Packing: plug-ins that choose nodes are named, or nothing happens but that tasks are allocated, and more than one
    node could take them. Topology: a job states a constraint. Device sharing: a task shares a device. Order: tasks, or
    queues beside each other, have priorities of their own.
    """
    if case.plugins != "default" and CHOICE_PLUGINS & {plugin.name for plugin in case.plugins}:
        return "packing"
    if case.topologies or any(node.numa for node in case.nodes):
        return "topology"
    if any(task.gpu_request.is_shared_gpu_request for _, task in case.tasks):
        return "device sharing"
    if any(task.task_priority is not None for _, task in case.tasks):
        return "order"
    siblings: dict[str, set[int]] = {}
    for queue in case.queues:
        siblings.setdefault(queue.parent, set()).add(queue.priority)
    if any(len(priorities) > 1 for priorities in siblings.values()):
        return "order"
    if set(case.actions) == {"allocate"} and len(case.nodes) > 1:
        return "packing"
    return ""


def worse(case: Case, rounds: Sequence[Round]) -> Iterator[str]:
    """Why the rounds are not equally valid; nothing if they are."""
    choice = tests_choice(case)
    if choice:
        yield f"the case tests {choice}"
    for number, done in enumerate(rounds):
        if done.matched:
            for problem in _counts(case, done):
                yield f"round {number}: {problem}"
        for problem in _broken(case, done):
            yield f"round {number}: {problem}"
        if done.phase == "after_match" and (done.binds or done.pipelines or done.evicted):
            yield f"round {number}: still {done.binds} binds, {len(done.evicted)} evictions, {done.pipelines} pipelines"
    yield from _evictions(case, rounds)


def _counts(case: Case, done: Round) -> Iterator[str]:
    for job in case.jobs:
        expected = case.expected.jobs.get(job.name)
        statuses = {task.task_id: case.expected.tasks.get(task.task_id, expected) for task in job.tasks}
        if None in statuses.values() and all(value is None for value in statuses.values()):
            continue
        want = Counter(value.status for value in statuses.values() if value is not None)
        have = Counter(done.after[task].status for task in statuses)
        if want - have:
            yield f"job {job.name}: {_words(have)}, expected {_words(want)}"


def _words(statuses: Counter[Status]) -> str:
    return ", ".join(f"{count} {status.value}" for status, count in sorted(statuses.items()))


def _evictions(case: Case, rounds: Sequence[Round]) -> Iterator[str]:
    queues = {task.task_id: job.queue for job, task in case.tasks}
    ours, theirs = (
        Counter(queues[task] for done in played for task in done.evicted) for played in (rounds, recorded(case))
    )
    for queue in sorted(ours | theirs):
        if ours[queue] != theirs[queue]:
            yield f"queue {queue}: {ours[queue]} tasks evicted, KAI evicts {theirs[queue]}"


def _broken(case: Case, done: Round) -> Iterator[str]:
    seats, fresh = [], set()
    for _, task in case.tasks:
        name = task.task_id
        now, before = done.after[name], done.before[name]
        if now.status in PLACED and now.node:
            leaving = now.status is Status.RELEASING
            waiting = now.status is Status.PIPELINED
            seats.append(Seat(pod=name, node=now.node, devices=now.devices, leaving=leaving, nominated=waiting))
        if name in done.evicted and now.status is Status.PIPELINED:
            seats.append(Seat(pod=name, node=before.node, devices=before.devices, leaving=True))
        if now.status in {Status.BINDING, Status.PIPELINED} and now != before:
            fresh.add(name)
    yield from broken(
        Scene(
            nodes=nodes_of_case(case),
            groups=groups_of_case(case, done.after),
            queues=queue_tree(case),
            topologies={topology.name: topology for topology in topologies(case)},
            seats=seats,
            fresh=fresh,
        )
    )
