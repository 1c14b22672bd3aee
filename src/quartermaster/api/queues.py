"""Queue objects as the tree that is scheduled by, whatever is wrong with some of them.

A queue that cannot be used (its amounts cannot be read, its parent is missing, it is its own ancestor) is left out
together with all queues below it, and a problem says why. Nothing new starts there; what runs there is charged to
nobody and evicted by nobody, so that a slip of the pen stops no training. Refuses to guess what was meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from quartermaster.api import v1alpha1
from quartermaster.api.quantities import number
from quartermaster.api.reading import Json, Problem, Reason, read
from quartermaster.api.times import moment, seconds
from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.units import CPU, GPU, MEMORY, gpu_model_resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The queues of a cluster: `tree` has those that can be used; `problems` says of the others why not, by name.

    `overcommitted` has queues whose children are promised more than they are, with a sentence each: allowed, and worth
    knowing.
    """

    tree: QueueTree
    problems: Mapping[str, Problem]
    overcommitted: Mapping[str, str]


def queues_from(objects: Iterable[Json]) -> Queues:
    """The queues of these objects. No objects: one queue, `default`.

    Of several with one name the first counts: give our own before those of other schedulers.
    """
    found: dict[str, Queue] = {}
    problems: dict[str, Problem] = {}
    for value in objects:
        name = value["metadata"]["name"]
        if name in found or name in problems:
            continue
        try:
            found[name] = queue_from(read(value, v1alpha1.Queue))
        except InvalidInput as wrong:
            problems[name] = Problem(Reason.INVALID_SPEC, str(wrong))
    if not found and not problems:
        return Queues(tree=QueueTree.single(), problems={}, overcommitted={})
    problems |= _misplaced(found, problems)
    tree = QueueTree(queue for name, queue in found.items() if name not in problems)
    return Queues(tree=tree, problems=problems, overcommitted=dict(_overcommitted(tree)))


def queue_from(value: v1alpha1.Queue) -> Queue:
    """One queue; raises InvalidInput for numbers that contradict each other."""
    spec = value.spec
    return Queue(
        name=value.metadata.name,
        parent=spec.parent or None,
        priority=spec.priority,
        created=moment(value.metadata.creation_timestamp),
        quotas=dict(_quotas(spec)),
        reclaim_min_runtime=_span(spec.reclaim_min_runtime),
        preempt_min_runtime=_span(spec.preempt_min_runtime),
    )


def _quotas(spec: v1alpha1.QueueSpec) -> Iterator[tuple[str, Quota]]:
    nothing, everything = Quota(), Quota(deserved=UNLIMITED)
    yield GPU, nothing if spec.gpu is None else _quota(spec.gpu, 1)
    yield CPU, everything if spec.cpu is None else _quota(spec.cpu, 1000)
    yield MEMORY, everything if spec.memory is None else _quota(spec.memory, 1)
    for model, quota in spec.gpu_models.items():
        yield gpu_model_resource(model), _quota(quota, 1)


def _quota(quota: v1alpha1.Quota, unit: int) -> Quota:
    unbounded = quota.deserved == v1alpha1.UNLIMITED
    return Quota(
        deserved=UNLIMITED if unbounded else number(quota.deserved) * unit,
        limit=UNLIMITED if quota.limit is None else number(quota.limit) * unit,
        over_quota_weight=quota.weight,
    )


def _span(text: str | None) -> float | None:
    return None if text is None else seconds(text)


def _misplaced(found: Mapping[str, Queue], broken: Mapping[str, Problem]) -> dict[str, Problem]:
    """What is wrong with the way up from each queue."""
    verdicts: dict[str, Problem | None] = {}
    for name in found:
        path: list[str] = []
        at: str | None = name
        while at is not None and at in found and at not in verdicts and at not in path:
            path.append(at)
            at = found[at].parent
        if at is None or (at in verdicts and verdicts[at] is None):
            verdicts |= dict.fromkeys(path)
            continue
        circle = path[path.index(at) :] if at in path else []
        if circle:
            said = f"is its own ancestor: {' -> '.join((*circle, at))}; let one of them be a top queue"
            verdicts |= dict.fromkeys(circle, Problem(Reason.PARENT_CYCLE, said))
        elif at not in found and at not in broken and path:
            said = f"there is no queue '{at}'; name an existing parent, or leave it out for a top queue"
            verdicts[path.pop()] = Problem(Reason.PARENT_NOT_FOUND, said)
        for below in path:
            if below not in verdicts:
                parent = found[below].parent
                verdicts[below] = Problem(Reason.PARENT_NOT_READY, f"the queue above it, '{parent}', cannot be used")
    return {name: problem for name, problem in verdicts.items() if problem is not None}


def _overcommitted(tree: QueueTree) -> Iterator[tuple[str, str]]:
    for queue in tree:
        children = tree.children(queue.name)
        for resource, quota in queue.quotas.items():
            promises = [child.quota(resource).deserved for child in children]
            promised = sum(promise for promise in promises if not math.isinf(promise))  # no bound is no promise
            if promised > quota.deserved:
                yield (
                    queue.name,
                    f"{resource}: the queues below deserve {promised:g} together, and it {quota.deserved:g}",
                )
                break
