"""Strategies for queue trees: few queues with clashing entitlements, so that every rule of division gets to speak."""

from __future__ import annotations

from hypothesis import strategies as st

from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource

MODEL = gpu_model_resource("A")
QUEUE_RESOURCES = (CPU, MEMORY, GPU, MODEL)
"""What the trees have quotas for, and what `requests` and `amounts` ask for."""

_STEPS = {CPU: 500, MEMORY: 700_000, GPU: DEVICE // 4, MODEL: DEVICE // 4}
"""Integer units to a step; small and not always whole units, since that is where divisions go wrong."""


def amounts(*, max_steps: int = 12) -> st.SearchStrategy[dict[str, int]]:
    """What a pod or a queue asks for, by resource in integer units; some resources not at all."""
    return st.fixed_dictionaries(
        {}, optional={name: st.integers(0, max_steps).map(step.__mul__) for name, step in _STEPS.items()}
    )


def capacities() -> st.SearchStrategy[dict[str, int]]:
    """What a small cluster has, sometimes with a part of a device taken by others."""
    return st.fixed_dictionaries({name: st.integers(0, 40).map(step.__mul__) for name, step in _STEPS.items()})


@st.composite
def quotas(draw: st.DrawFn, resource: str) -> Quota:
    """Nothing, something or everything deserved; a limit or none; a weight, which may be 0."""
    per_quota = _STEPS[resource] / (DEVICE if resource.startswith(GPU) else 1)
    limit = draw(st.sampled_from((3, 8, 20, UNLIMITED, UNLIMITED)))
    deserved = draw(st.sampled_from((0, 1, 2, 4, 6, 12, UNLIMITED)))
    return Quota(
        deserved=(deserved if deserved == UNLIMITED else min(deserved, limit)) * per_quota,
        limit=limit * per_quota,
        over_quota_weight=draw(st.sampled_from((0, 0.1, 0.3, 1, 1, 2, 3, 7.5))),
    )


@st.composite
def queue_trees(draw: st.DrawFn, *, max_queues: int = 9, max_depth: int = 4) -> QueueTree:
    """A forest of one to `max_queues` queues, at most `max_depth` deep, given in any order."""
    depth: dict[str, int] = {}
    queues: list[Queue] = []
    for index in range(draw(st.integers(1, max_queues))):
        above = [None, *(name for name, level in depth.items() if level < max_depth)]
        parent = draw(st.sampled_from(above))
        name = f"q{index}"
        depth[name] = 1 if parent is None else depth[parent] + 1
        queues.append(
            Queue(
                name=name,
                parent=parent,
                priority=draw(st.sampled_from((100, 100, 100, 200))),
                created=float(draw(st.integers(0, 2))),
                quotas={
                    resource: draw(quotas(resource))
                    for resource in QUEUE_RESOURCES
                    if draw(st.sampled_from((True, True, True, False)))
                },
                usage={resource: draw(st.sampled_from((0.0, 0.0, 0.25, 0.6, 1.2))) for resource in QUEUE_RESOURCES},
            )
        )
    return QueueTree(draw(st.permutations(queues)))


@st.composite
def requests(draw: st.DrawFn, tree: QueueTree) -> dict[str, dict[str, int]]:
    """What the leaves of a tree ask for; some do not ask at all."""
    leaves = [queue.name for queue in tree if tree.is_leaf(queue.name)]
    return {name: draw(amounts(max_steps=30)) for name in leaves if draw(st.sampled_from((True, True, True, False)))}
