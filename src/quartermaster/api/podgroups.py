"""PodGroup objects, with the pods that name them, as gangs; and what any gang has to find in the cluster.

Refuses to know how pods find their group: the caller brings them, by the sub-group that they name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from quartermaster.api import v1alpha1
from quartermaster.api.reading import Json, Problem, Reason, read
from quartermaster.api.times import moment, seconds
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import DEFAULT_PRIORITY, PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology, TopologyConstraint

GROUP_LABEL: Final = f"{v1alpha1.GROUP}/pod-group"
"""On a pod: the PodGroup of its namespace that it is of."""
SUB_GROUP_LABEL: Final = f"{v1alpha1.GROUP}/sub-group"
"""On a pod: the sub-group of its group that it is of."""
NON_PREEMPTIBLE_FROM: Final = 100
"""Priority from which a group is not preempted unless it says so."""


class PriorityClass(NamedTuple):
    """What a PriorityClass object gives a group."""

    value: int
    may_preempt: bool = True


def group_from(
    value: Json, pods: Mapping[str, Sequence[Pod]], *, classes: Mapping[str, PriorityClass]
) -> PodGroup | Problem:
    """The gang of a PodGroup object and its pods, by the name of the sub-group that they name (empty: none).

    A problem, if it cannot be understood or too few of its pods exist: it is not to be decided on then. A sub-group
    that its parent can start without, and whose pods are not all there yet, joins when they are.
    """
    try:
        return _group(read(value, v1alpha1.PodGroup), pods, classes)
    except InvalidInput as wrong:
        return Problem(Reason.INVALID_SPEC, str(wrong))


def _group(
    value: v1alpha1.PodGroup, pods: Mapping[str, Sequence[Pod]], classes: Mapping[str, PriorityClass]
) -> PodGroup | Problem:
    spec, status = value.spec, value.status
    class_name = spec.priority_class_name
    if class_name and class_name not in classes:
        return Problem(Reason.PRIORITY_CLASS_NOT_FOUND, f"there is no PriorityClass '{class_name}'")
    root = _Tree(spec, pods).root()
    if isinstance(root, Problem):
        return root
    priority, may_preempt = classes[class_name] if class_name else PriorityClass(_priority(root))
    return PodGroup(
        name=f"{value.metadata.namespace}/{value.metadata.name}",
        queue=spec.queue,
        root=root,
        priority=priority,
        created=moment(value.metadata.creation_timestamp),
        preemptible=priority < NON_PREEMPTIBLE_FROM if spec.preemptible is None else spec.preemptible,
        may_preempt=may_preempt,
        preemption_delay=seconds(spec.preemption_delay or "0"),
        staleness_grace=_seconds(spec.staleness_grace),
        runtime=_seconds(spec.runtime),
        max_runtime=_seconds(spec.max_runtime),
        started=_moment(status.started),
        stale_since=_moment(status.stale_since),
        last_evicted=_moment(status.last_evicted),
        requeued=_moment(status.requeued),
    )


def _seconds(text: str | None) -> float | None:
    return None if text is None else seconds(text)


def _moment(text: str | None) -> float | None:
    return None if text is None else moment(text)


def _priority(root: SubGroup) -> int:
    known = (pod.priority for leaf in root.leaves() for pod in leaf.pods if pod.priority is not None)
    return max(known, default=DEFAULT_PRIORITY)


class _Tree:
    """The tree of sub-groups that a list with parents describes."""

    def __init__(self, spec: v1alpha1.PodGroupSpec, pods: Mapping[str, Sequence[Pod]]) -> None:
        self._spec, self._pods = spec, pods
        self._children: dict[str, list[v1alpha1.SubGroup]] = {}
        for part in spec.sub_groups:
            self._children.setdefault(part.parent, []).append(part)
        self._check()

    def _check(self) -> None:
        names = [part.name for part in self._spec.sub_groups]
        for number, part in enumerate(self._spec.sub_groups):
            where = f"spec.subGroups[{number}]"
            if names.index(part.name) != number:
                raise InvalidInput(f"{where}.name", f"'{part.name}' twice", "give each sub-group a name of its own")
            if part.parent and part.parent not in names:
                raise InvalidInput(f"{where}.parent", f"there is no '{part.parent}'", "name another sub-group")
        reached = set(self._below(""))
        for name in names:
            if name not in reached:
                raise InvalidInput("spec.subGroups", f"'{name}' is its own ancestor", "let one of them have no parent")
        self._check_minimums()
        for name, there in self._pods.items():
            if there and name in self._children:
                raise InvalidInput(
                    f"pod '{there[0].name}'",
                    f"is to be in {f'sub-group {name!r}' if name else 'no sub-group'}, where sub-groups are",
                    f"name one of: {', '.join(sorted(set(names) - self._children.keys()))}",
                )
            if there and name and name not in names:
                raise InvalidInput(f"pod '{there[0].name}'", f"names sub-group '{name}'", "there is no such sub-group")

    def _below(self, name: str) -> Iterator[str]:
        for child in self._children.get(name, ()):
            yield child.name
            yield from self._below(child.name)

    def _check_minimums(self) -> None:
        """Raises InvalidInput for a minimum of more sub-groups than there are."""
        parts = [("", self._spec.min), *((part.name, part.min) for part in self._spec.sub_groups)]
        for name, least in parts:
            there = len(self._children.get(name, ()))
            if there and least is not None and least > there:
                of = f" of sub-group '{name}'" if name else ""
                raise InvalidInput(f"min{of}", f"{least} of {there} sub-groups", "give at most their number")

    def root(self) -> SubGroup | Problem:
        """The whole tree, or what it lacks."""
        return self._part("", self._spec.min, self._spec.topology)

    def _part(self, name: str, least: int | None, asked: v1alpha1.TopologyConstraint | None) -> SubGroup | Problem:
        topology = _constraint(asked)
        declared = self._children.get(name)
        if declared is None:
            pods = tuple(self._pods.get(name, ()))
            of = f" of sub-group '{name}'" if name else ""
            if least is None:
                raise InvalidInput(f"min{of}", "is missing", "say how many pods have to be there for it to start")
            if len(pods) < least:
                return Problem(Reason.PODS_MISSING, f"{len(pods)} of {least} pods{of} exist")
            return SubGroup(name=name, pods=pods, min=least, topology=topology)
        parts = [self._part(child.name, child.min, child.topology) for child in declared]
        ready = tuple(part for part in parts if isinstance(part, SubGroup))
        need = len(declared) if least is None else least
        if len(ready) < need or not ready:
            return next(part for part in parts if isinstance(part, Problem))
        return SubGroup(name=name, children=ready, min=need, topology=topology)


def _constraint(asked: v1alpha1.TopologyConstraint | None) -> TopologyConstraint | None:
    if asked is None:
        return None
    return TopologyConstraint(topology=asked.topology, required=asked.required, preferred=asked.preferred)


def check(value: v1alpha1.PodGroup) -> None:
    """Raises InvalidInput for a tree that contradicts itself, whatever pods there are."""
    _Tree(value.spec, {})


def unplaceable(group: PodGroup, *, queues: QueueTree, topologies: Mapping[str, Topology]) -> Problem | None:
    """What a gang, wherever it comes from, names and does not find: its queue, its topologies and their levels."""
    asked = (part.topology for part in group.root.parts() if part.topology is not None)
    return _missing(group.queue, asked, queues, topologies)


def missing(value: v1alpha1.PodGroup, *, queues: QueueTree, topologies: Mapping[str, Topology]) -> Problem | None:
    """The same for an object whose pods are still to come."""
    spec = value.spec
    asked = (_constraint(one) for one in (spec.topology, *(part.topology for part in spec.sub_groups)))
    return _missing(spec.queue, (one for one in asked if one is not None), queues, topologies)


def _missing(
    queue: str, asked: Iterable[TopologyConstraint], queues: QueueTree, topologies: Mapping[str, Topology]
) -> Problem | None:
    if queue not in queues:
        return Problem(Reason.QUEUE_NOT_FOUND, f"there is no queue '{queue}' that can be used")
    if not queues.is_leaf(queue):
        below = ", ".join(child.name for child in queues.children(queue)[:5])
        return Problem(Reason.QUEUE_NOT_LEAF, f"queue '{queue}' has queues below it; name one of: {below}")
    for one in asked:
        if one.topology not in topologies:
            return Problem(Reason.TOPOLOGY_NOT_FOUND, f"there is no topology '{one.topology}' that can be used")
        try:
            one.check(topologies[one.topology])
        except InvalidInput as wrong:
            return Problem(Reason.TOPOLOGY_NOT_FOUND, str(wrong))
    return None
