"""What the Queue objects of a cluster are told after a decision: who holds what, deserves what, waits for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from quartermaster.api.quantities import text
from quartermaster.api.queues import Queues
from quartermaster.api.reading import Json
from quartermaster.api.statuses import Said, conditions, patch
from quartermaster.api.v1alpha1 import Holding, QueueStatus
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import CPU, GPU, MEMORY, gpu_model_resource
from quartermaster.scheduling.quota import to_internal
from quartermaster.scheduling.standing import Standing

_MODELS = gpu_model_resource("")


def queue_patches(
    objects: Iterable[Json], queues: Queues, standing: Standing, *, groups: Iterable[PodGroup], now: float
) -> Iterator[tuple[str, Json]]:
    """The merge patch of the status of every Queue object that has something new to say, by name.

    `standing` is that of the tree of `queues`; `groups` are all that wait or run, each once.
    """
    counts = _counts(standing, groups)
    for value in objects:
        name = value["metadata"]["name"]
        change = patch(value, queue_status(value, queues, standing, counts=counts, now=now))
        if change is not None:
            yield name, change


Counts = Mapping[str, Counter[str]]
"""Groups by queue: how many are `pending`, how many `running`."""


def _counts(standing: Standing, groups: Iterable[PodGroup]) -> Counts:
    """A group that runs and could grow counts as running only."""
    tree, presence = standing.tree, standing.presence
    found: dict[str, Counter[str]] = {}
    for group in groups:
        what = "running" if presence.satisfied(group.root) else "pending"
        found.setdefault(group.queue, Counter())[what] += 1
    total = {name: Counter(own) for name, own in found.items()}
    for name, own in found.items():
        if name in tree:
            for above in tree.path(name)[1:]:
                total.setdefault(above.name, Counter()).update(own)
    return total


def queue_status(value: Json, queues: Queues, standing: Standing, *, counts: Counts, now: float) -> QueueStatus:
    """The whole status of one Queue object; of one that is not in use, that it is not and why."""
    name = value["metadata"]["name"]
    holdings: dict[str, Holding] = {}
    problem = queues.problems.get(name)
    if problem is None:
        holdings = {resource: _holding(standing, name, resource) for resource in standing.resources}
        overcommitted = queues.overcommitted.get(name)
        said = [
            Said("Ready", holds=True, reason="InUse"),
            Said("Overcommitted", holds=False, reason="WithinOwn")
            if overcommitted is None
            else Said("Overcommitted", holds=True, reason="ChildrenDeserveMore", message=overcommitted),
        ]
    else:
        said = [Said("Ready", holds=False, reason=problem.reason, message=problem.message)]
    mine = counts.get(name, Counter())
    return QueueStatus(
        observed_generation=value["metadata"].get("generation", 0),
        gpu=holdings.get(GPU),
        gpu_models={
            resource.removeprefix(_MODELS): holding
            for resource, holding in holdings.items()
            if resource.startswith(_MODELS)
        },
        cpu=holdings.get(CPU),
        memory=holdings.get(MEMORY),
        pending_groups=mine["pending"],
        running_groups=mine["running"],
        children=[] if problem else [child.name for child in standing.tree.children(name)],
        conditions=conditions(value, said, now=now),
    )


def _holding(standing: Standing, name: str, resource: str) -> Holding:
    quota = standing.tree[name].quota(resource)
    return Holding(
        allocated=text(standing.quota.used(name).get(resource, 0), resource),
        non_preemptible=text(standing.quota.non_preemptible(name).get(resource, 0), resource),
        requested=text(standing.requested[name][resource], resource),
        deserved=text(to_internal(quota.deserved, resource), resource),
        fair_share=text(standing.shares[name][resource].share, resource),
        limit=text(to_internal(quota.limit, resource), resource),
    )
