"""A document as values of the model, with what only a whole document can be checked for: names that have to exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quartermaster.model import node as model_node
from quartermaster.model import topology as model_topology
from quartermaster.model.errors import InvalidInput
from quartermaster.model.labels import LabelSelector
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY
from quartermaster.testing.scenarios.timeline import document as doc

NON_PREEMPTIBLE_FROM = 100
"""Priority from which a workload is not preempted unless it says so."""

NAMESPACE = "default"


def nodes(scenario: doc.Scenario) -> list[model_node.Node]:
    """The nodes of the beginning, in order; every one has its name as label `kubernetes.io/hostname`."""
    return [
        model_node.Node(
            name=name,
            cpu=kind.cpu,
            memory=kind.memory,
            pods=kind.pods,
            gpus=kind.gpus,
            gpu_model=kind.model,
            gpu_memory=kind.gpu_memory if kind.gpus else 0,
            labels={"kubernetes.io/hostname": name} | kind.labels,
        )
        for kind in scenario.cluster.nodes
        for name in _names(kind.name, kind.count)
    ]


def _names(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{number}" for number in range(count)]


def topologies(scenario: doc.Scenario) -> dict[str, model_topology.Topology]:
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
        for topology in scenario.cluster.topologies
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
            created=float(number),
            quotas={
                GPU: _quota(queue.gpu, 1),
                CPU: _quota(queue.cpu, 1000),
                MEMORY: _quota(queue.memory, 1),
            },
            reclaim_min_runtime=queue.reclaim_min_runtime,
            preempt_min_runtime=queue.preempt_min_runtime,
        )
        for number, queue in enumerate(written)
    )


def _quota(quota: doc.Quota | None, unit: int) -> Quota:
    if quota is None:
        return Quota(deserved=UNLIMITED)
    return Quota(
        deserved=quota.deserved * unit,
        limit=UNLIMITED if quota.limit is None else quota.limit * unit,
        over_quota_weight=quota.weight,
    )


def groups(scenario: doc.Scenario) -> Iterator[tuple[doc.Workload, PodGroup]]:
    """Every group that is going to be submitted, with the workload it is of."""
    for workload in scenario.workloads:
        for name in _names(workload.name, workload.repeat):
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
                ),
            )


def _part(part: doc.Group, name: str, *, where: str) -> SubGroup:
    """A part of a gang, whose pods are called after the whole path to it."""
    topology = _constraint(part.topology)
    if part.sub_groups and (part.pod is not None or part.count != 1):
        raise InvalidInput(f"{where}: sub-groups", "given beside pods", "give `pod` and `count`, or `sub-groups`")
    if part.sub_groups:
        children = tuple(
            _part(child, f"{name}-{child.name}", where=f"{where}: sub-group '{child.name}'")
            for child in part.sub_groups
        )
        return SubGroup(name=part.name, children=children, min=part.min, topology=topology)
    spec = _spec(part.pod or doc.Pod(), where=f"{where}: pod")
    pods = tuple(Pod(f"{name}-{number}", spec) for number in range(part.count))
    return SubGroup(name=part.name, pods=pods, min=part.min, topology=topology)


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
        gpu=_gpus(pod, where=where),
        node_selector=LabelSelector.of(pod.node_selector),
        namespace=NAMESPACE,
        labels=tuple(sorted(pod.labels.items())),
    )


def _gpus(pod: doc.Pod, *, where: str) -> GpuRequest:
    models = frozenset(pod.models)
    if pod.gpus != int(pod.gpus):
        if pod.gpus > 1 or pod.gpu_memory is not None:
            raise InvalidInput(f"{where}: gpus", f"{pod.gpus:g}", "give whole GPUs, or a share of one below 1")
        return GpuRequest(count=1, share=round(pod.gpus * DEVICE), models=models)
    if pod.gpu_memory is not None:
        return GpuRequest(count=int(pod.gpus) or 1, memory=pod.gpu_memory, models=models)
    return GpuRequest(count=int(pod.gpus), models=models)
