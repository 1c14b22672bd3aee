"""A document as values of the model, with what only a whole document can be checked for: names that have to exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from quartermaster.documents import parts as doc
from quartermaster.model import node as model_node
from quartermaster.model import topology as model_topology
from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import HOSTNAME, AffinityTerm, LabelSelector, Requirement, Taint, Toleration
from quartermaster.model.locality import Locality, Zone
from quartermaster.model.pod import Container, GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource

W = TypeVar("W", bound=doc.Workload)

NON_PREEMPTIBLE_FROM = 100
"""Priority from which a workload is not preempted unless it says so."""

NAMESPACE = "default"


def nodes(written: Iterable[doc.Nodes]) -> list[model_node.Node]:
    """The nodes of the beginning, in order; the label `kubernetes.io/hostname` is the name unless given."""
    return [
        model_node.Node(
            name=name,
            cpu=kind.cpu,
            memory=kind.memory,
            pods=kind.pods,
            ephemeral_storage=kind.ephemeral_storage,
            extended=kind.extended,
            gpus=kind.gpus,
            gpu_model=kind.model,
            gpu_memory=kind.gpu_memory if kind.gpus else 0,
            labels={HOSTNAME: name} | kind.labels,
            taints=tuple(Taint(key=taint.key, value=taint.value, effect=taint.effect) for taint in kind.taints),
            schedulable=kind.schedulable,
            locality=None if kind.locality is None else _locality(kind.locality),
        )
        for kind in written
        for name in _names(kind.name, kind.count)
    ]


def _locality(written: doc.Locality) -> Locality:
    return Locality(
        policy=written.policy,
        scope=written.scope,
        pins_cpu=written.pins_cpu,
        pins_memory=written.pins_memory,
        threads=written.threads,
        zones=tuple(
            Zone(id=zone.id, allocatable=tuple(sorted(zone.allocatable.items())), gpus=zone.gpus)
            for zone in written.zones
        ),
        nvlink=written.nvlink,
        switches=written.switches,
        rails=written.rails,
        network=frozenset(written.network),
    )


def _names(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{number}" for number in range(count)]


def topologies(written: Iterable[doc.Topology]) -> dict[str, model_topology.Topology]:
    """Topologies by name; a level written as a string is its label."""
    return {
        topology.name: model_topology.Topology(
            name=topology.name,
            levels=tuple(
                model_topology.Level(label=level)
                if isinstance(level, str)
                else model_topology.Level(label=level.label, alias=level.alias, hard=level.hard)
                for level in topology.levels
            ),
        )
        for topology in written
    }


def queues(written: Sequence[doc.Queue]) -> QueueTree:
    """The tree of queues; none written is one that deserves everything, `default`."""
    if not written:
        return QueueTree.single()
    return QueueTree(
        Queue(
            name=queue.name,
            parent=queue.parent,
            priority=queue.priority,
            created=float(number) if queue.created is None else queue.created,
            quotas=dict(_quotas(queue)),
            usage=queue.usage,
            reclaim_min_runtime=queue.reclaim_min_runtime,
            preempt_min_runtime=queue.preempt_min_runtime,
        )
        for number, queue in enumerate(written)
    )


def _quotas(queue: doc.Queue) -> Iterator[tuple[str, Quota]]:
    written: list[tuple[str, doc.Quota | None, int]] = [
        (GPU, queue.gpu, 1),
        (CPU, queue.cpu, 1000),
        (MEMORY, queue.memory, 1),
        *((gpu_model_resource(model), quota, 1) for model, quota in queue.gpu_models.items()),
    ]
    for resource, quota, unit in written:
        try:
            yield resource, _quota(quota, unit)
        except InvalidInput as wrong:
            field = wrong.field.replace("quota: ", "")
            raise InvalidInput(f"queue '{queue.name}': {resource}: {field}", wrong.problem, wrong.fix) from None


def _quota(quota: doc.Quota | None, unit: int) -> Quota:
    if quota is None:
        return Quota(deserved=UNLIMITED)
    return Quota(
        deserved=UNLIMITED if quota.deserved == "unlimited" else quota.deserved * unit,
        limit=UNLIMITED if quota.limit is None else quota.limit * unit,
        over_quota_weight=quota.weight,
    )


def names_of(workload: doc.Workload) -> list[str]:
    """What the groups of a workload are called."""
    return _names(workload.name, workload.repeat)


def groups(written: Iterable[W]) -> Iterator[tuple[W, PodGroup]]:
    """Every group that is going to be submitted, with the workload it is of."""
    for workload in written:
        for name in names_of(workload):
            preemptible = workload.preemptible
            yield (
                workload,
                PodGroup(
                    name=name,
                    queue=workload.queue,
                    root=_part(workload, name, where=f"workload '{workload.name}'"),
                    priority=workload.priority,
                    created=float(workload.at),
                    preemptible=workload.priority < NON_PREEMPTIBLE_FROM if preemptible is None else preemptible,
                    may_preempt=workload.may_preempt,
                    preemption_delay=float(workload.preemption_delay),
                    staleness_grace=workload.staleness_grace,
                    runtime=workload.runtime,
                    max_runtime=workload.max_runtime,
                    owner=workload.owner,
                ),
            )


def _part(part: doc.Group, name: str, *, where: str) -> SubGroup:
    """A part of a gang, whose pods are called after the whole path to it."""
    topology = _constraint(part.topology)
    if part.sub_groups and (part.pod is not None or part.pods is not None or part.count != 1):
        raise InvalidInput(f"{where}: sub-groups", "given beside pods", "give `pod` and `count`, or `sub-groups`")
    if part.pods is not None and (part.pod is not None or part.count != 1):
        raise InvalidInput(f"{where}: pods", "given beside `pod` or `count`", "give `pods` with their names, or those")
    if part.sub_groups:
        children = tuple(
            _part(child, f"{name}-{child.name}", where=f"{where}: sub-group '{child.name}'")
            for child in part.sub_groups
        )
        return SubGroup(name=part.name, children=children, min=part.min, topology=topology)
    if part.pods is not None:
        told = tuple(_named(part.pods, where=f"{where}: pods"))
        return SubGroup(name=part.name, pods=told, min=part.min, topology=topology)
    spec = _spec(part.pod or doc.Pod(), where=f"{where}: pod")
    pods = tuple(Pod(f"{name}-{number}", spec) for number in range(part.count))
    return SubGroup(name=part.name, pods=pods, min=part.min, topology=topology)


def _named(runs: Iterable[doc.Named], *, where: str) -> Iterator[Pod]:
    for number, run in enumerate(runs):
        spec = _spec(run, where=f"{where}[{number}]")
        for name in run.names:
            yield Pod(name, spec, priority=run.priority, gated=run.gated)


def _constraint(asked: doc.Constraint | None) -> model_topology.TopologyConstraint | None:
    if asked is None:
        return None
    return model_topology.TopologyConstraint(
        topology=asked.topology, required=asked.required, preferred=asked.preferred
    )


def _spec(pod: doc.Pod, *, where: str) -> PodSpec:
    return PodSpec(
        cpu=pod.cpu,
        memory=pod.memory,
        ephemeral_storage=pod.ephemeral_storage,
        extended=tuple(sorted(pod.extended.items())),
        gpu=_gpus(pod, where=where),
        node_selector=LabelSelector(
            requirements=(
                *LabelSelector.of(pod.node_selector).requirements,
                *selector(pod.node_requirements).requirements,
            )
        ),
        node_affinity=tuple(selector(one) for one in pod.node_affinity),
        tolerations=tuple(
            Toleration(key=one.key, value=one.value, exists=one.exists, effect=one.effect) for one in pod.tolerations
        ),
        affinity=tuple(_term(one) for one in pod.affinity),
        anti_affinity=tuple(_term(one) for one in pod.anti_affinity),
        host_ports=tuple(pod.host_ports),
        namespace=pod.namespace,
        labels=tuple(sorted(pod.labels.items())),
        guaranteed=pod.guaranteed,
        containers=tuple(
            Container(cpu=one.cpu, memory=one.memory, gpus=one.gpus, extended=tuple(sorted(one.extended.items())))
            for one in pod.containers
        ),
    )


def selector(written: Iterable[doc.Requirement]) -> LabelSelector:
    """All requirements together."""
    return LabelSelector(
        requirements=tuple(Requirement(key=one.key, operator=one.operator, values=tuple(one.values)) for one in written)
    )


def _term(written: doc.Affinity) -> AffinityTerm:
    return AffinityTerm(
        selector=selector(written.match), topology_key=written.topology_key, namespaces=frozenset(written.namespaces)
    )


def _gpus(pod: doc.Pod, *, where: str) -> GpuRequest:
    models = frozenset(pod.models)
    if pod.gpu_share is not None and (pod.gpus != int(pod.gpus) or not pod.gpus or pod.gpu_memory is not None):
        raise InvalidInput(
            f"{where}: gpu-share", "needs a number of devices", "give whole `gpus` of which to share each"
        )
    if pod.gpus != int(pod.gpus):
        if pod.gpus > 1 or pod.gpu_memory is not None:
            raise InvalidInput(f"{where}: gpus", f"{pod.gpus:g}", "give whole GPUs, or a share of one below 1")
        return GpuRequest(count=1, share=round(pod.gpus * DEVICE), models=models)
    if pod.gpu_memory is not None:
        return GpuRequest(count=int(pod.gpus) or 1, memory=pod.gpu_memory, models=models)
    if pod.gpu_share is not None:
        return GpuRequest(count=int(pod.gpus), share=round(pod.gpu_share * DEVICE), models=models)
    return GpuRequest(count=int(pod.gpus), models=models)


def check_names(
    groups: Iterable[PodGroup], queues: QueueTree, topologies: Mapping[str, model_topology.Topology]
) -> None:
    """Raises `InvalidInput` for a group whose queue, topology or level is not there, or whose queue is no leaf."""
    for group in groups:
        where = f"workload '{group.name}'"
        known(f"{where}: queue", group.queue, [queue.name for queue in queues])
        if not queues.is_leaf(group.queue):
            below = ", ".join(queue.name for queue in queues.children(group.queue))
            raise InvalidInput(
                f"{where}: queue", f"'{group.queue}' has queues below it", f"name a leaf, such as {below}"
            )
        for constraint in constraints(group.root):
            known(f"{where}: topology", constraint.topology, topologies)
            constraint.check(topologies[constraint.topology])


def constraints(part: SubGroup) -> Iterator[model_topology.TopologyConstraint]:
    """What all parts of a gang ask of topologies."""
    if part.topology is not None:
        yield part.topology
    for child in part.children:
        yield from constraints(child)


def known(where: str, name: str | None, names: Iterable[str]) -> None:
    """Raises `InvalidInput` for a name that is not one of `names`, with the nearest of them."""
    names = list(names)
    if name is not None and name not in names:
        near = difflib.get_close_matches(name, names, n=3) or names[:8]
        raise InvalidInput(where, f"there is no '{name}'", f"name one of: {', '.join(near)}")
