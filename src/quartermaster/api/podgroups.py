"""What is wrong with a PodGroup object: by itself, and in what it names. `workloads` reads it as a gang.

Refuses to know pods: those that are still to come are no fault of the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quartermaster.api import v1alpha1
from quartermaster.api.reading import Problem, Reason
from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology, TopologyConstraint

NON_PREEMPTIBLE_FROM: Final = 100
"""Priority from which a group is not preempted unless it says so."""


def check(value: v1alpha1.PodGroup) -> None:
    """Raises InvalidInput for a tree that contradicts itself, whatever pods there are."""
    parts = value.spec.sub_groups
    names = [part.name for part in parts]
    for number, part in enumerate(parts):
        where = f"spec.subGroups[{number}]"
        if names.index(part.name) != number:
            raise InvalidInput(f"{where}.name", f"'{part.name}' twice", "give each sub-group a name of its own")
        if part.parent and part.parent not in names:
            raise InvalidInput(f"{where}.parent", f"there is no '{part.parent}'", "name another sub-group")
    parents = {part.name: part.parent for part in parts}
    for name in names:
        path = [name]
        while parents[path[-1]]:
            if parents[path[-1]] in path:
                raise InvalidInput("spec.subGroups", f"'{name}' is its own ancestor", "let one of them have no parent")
            path.append(parents[path[-1]])
    for name, least in (("", value.spec.min), *((part.name, part.min) for part in parts)):
        below = sum(part.parent == name for part in parts)
        if below and least is not None and least > below:
            of = f" of sub-group '{name}'" if name else ""
            raise InvalidInput(f"min{of}", f"{least} of {below} sub-groups", "give at most their number")
        if not below and least is None:
            of = f" of sub-group '{name}'" if name else ""
            raise InvalidInput(f"min{of}", "is missing", "say how many pods have to be there for it to start")


def missing(value: v1alpha1.PodGroup, *, queues: QueueTree, topologies: Mapping[str, Topology]) -> Problem | None:
    """What it names and does not find: its queue, its topologies and their levels."""
    queue = value.spec.queue
    if queue not in queues:
        return Problem(Reason.QUEUE_NOT_FOUND, f"there is no queue '{queue}' that can be used")
    if not queues.is_leaf(queue):
        below = ", ".join(child.name for child in queues.children(queue)[:5])
        return Problem(Reason.QUEUE_NOT_LEAF, f"queue '{queue}' has queues below it; name one of: {below}")
    for asked in (value.spec.topology, *(part.topology for part in value.spec.sub_groups)):
        if asked is None:
            continue
        if asked.topology not in topologies:
            return Problem(Reason.TOPOLOGY_NOT_FOUND, f"there is no topology '{asked.topology}' that can be used")
        try:
            one = TopologyConstraint(topology=asked.topology, required=asked.required, preferred=asked.preferred)
            one.check(topologies[asked.topology])
        except InvalidInput as wrong:
            return Problem(Reason.TOPOLOGY_NOT_FOUND, str(wrong))
    return None
