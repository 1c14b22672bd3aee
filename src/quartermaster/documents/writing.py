"""A situation as a snapshot document: the way back from values of the model, without loss.

What a document leaves out has the default of its field, so most lines of a dumped cluster say only what is special. Two
things are not kept, for nothing depends on them: the name of a group's root, and a host name label that is missing.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec
import yaml

from quartermaster.documents import parts
from quartermaster.documents import snapshot as doc
from quartermaster.documents.quantities import Bytes, LongestSeconds, Millicores, Seconds
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.labels import HOSTNAME, AffinityTerm, LabelSelector, Operator
from quartermaster.model.locality import Locality
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, Quota
from quartermaster.model.reservation import Reservation
from quartermaster.model.topology import Topology, TopologyConstraint
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource
from quartermaster.whatif.situation import Place, Situation


def dump(situation: Situation, *, name: str) -> bytes:
    """The snapshot file of a situation, in the form that `name` ends in (``.yaml``, ``.json``, either with ``.gz``)."""
    plain = msgspec.to_builtins(document(situation), enc_hook=_written)
    if name.removesuffix(".gz").endswith(".json"):
        text = json.dumps(plain, indent=1)
    else:
        text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=120)
    data = text.encode()
    return gzip.compress(data, mtime=0) if name.endswith(".gz") else data


def _written(value: object) -> object:
    if isinstance(value, Bytes | Millicores):
        return value.text()
    if isinstance(value, Seconds):
        return "never" if math.isinf(value) else float(value)
    raise NotImplementedError(type(value))


def document(situation: Situation) -> doc.Snapshot:
    """The document of a situation."""
    return doc.Snapshot(
        now=Seconds(situation.now),
        cluster=parts.Cluster(
            nodes=[_node(node) for node in situation.nodes],
            topologies=[_topology(topology) for topology in situation.topologies.values()],
        ),
        queues=[_queue(queue) for queue in situation.queues],
        workloads=[_workload(group, situation.places) for group in situation.groups],
        budgets=[_budget(budget) for budget in situation.budgets],
        prices=dict(situation.prices),
        policy=_policy(situation),
    )


def _node(node: Node) -> parts.Nodes:
    labels = dict(node.labels)
    if labels.get(HOSTNAME) == node.name:
        del labels[HOSTNAME]
    return parts.Nodes(
        name=node.name,
        gpus=node.gpus,
        model=node.gpu_model,
        gpu_memory=Bytes(node.gpu_memory),
        cpu=Millicores(node.cpu),
        memory=Bytes(node.memory),
        ephemeral_storage=Bytes(node.ephemeral_storage),
        pods=node.pods,
        extended=dict(node.extended),
        labels=labels,
        taints=[parts.Taint(key=taint.key, value=taint.value, effect=taint.effect) for taint in node.taints],
        schedulable=node.schedulable,
        locality=None if node.locality is None else _locality(node.locality),
    )


def _locality(locality: Locality) -> parts.Locality:
    return parts.Locality(
        policy=locality.policy,
        scope=locality.scope,
        pins_cpu=locality.pins_cpu,
        pins_memory=locality.pins_memory,
        threads=locality.threads,
        zones=[parts.Zone(id=zone.id, allocatable=dict(zone.allocatable), gpus=zone.gpus) for zone in locality.zones],
        nvlink=locality.nvlink,
        switches=locality.switches,
        rails=locality.rails,
        network=sorted(locality.network),
    )


def _topology(topology: Topology) -> parts.Topology:
    return parts.Topology(
        name=topology.name,
        levels=[parts.Level(label=level.label, alias=level.alias, hard=level.hard) for level in topology.levels],
    )


def _queue(queue: Queue) -> parts.Queue:
    models = [resource.removeprefix(_MODEL) for resource in queue.quotas if resource.startswith(_MODEL)]
    return parts.Queue(
        name=queue.name,
        parent=queue.parent,
        priority=queue.priority,
        gpu=_quota(queue.quota(GPU), 1),
        gpu_models={model: _quota(queue.quota(gpu_model_resource(model)), 1) for model in models},
        cpu=_quota(queue.quota(CPU), 1000),
        memory=_quota(queue.quota(MEMORY), 1),
        reclaim_min_runtime=_seconds(queue.reclaim_min_runtime),
        preempt_min_runtime=_seconds(queue.preempt_min_runtime),
        usage=dict(queue.usage),
        created=queue.created,
    )


_MODEL = gpu_model_resource("")


def _quota(quota: Quota, unit: int) -> parts.Quota:
    return parts.Quota(
        deserved="unlimited" if math.isinf(quota.deserved) else quota.deserved / unit,
        limit=None if math.isinf(quota.limit) else quota.limit / unit,
        weight=quota.over_quota_weight,
    )


def _seconds(value: float | None) -> Seconds | None:
    return None if value is None else Seconds(value)


def _workload(group: PodGroup, places: Mapping[str, Place]) -> doc.Present:
    grace = group.staleness_grace
    return doc.Present(
        name=group.name,
        **_inside(group.root, group.name),
        queue=group.queue,
        owner=group.owner,
        at=Seconds(group.created),
        priority=group.priority,
        preemptible=group.preemptible,
        may_preempt=group.may_preempt,
        runtime=_seconds(group.runtime),
        max_runtime=_seconds(group.max_runtime),
        preemption_delay=Seconds(group.preemption_delay),
        staleness_grace=None if grace is None else LongestSeconds(grace),
        started=_seconds(group.started),
        checkpointed=_seconds(group.checkpointed),
        last_evicted=_seconds(group.last_evicted),
        stale_since=_seconds(group.stale_since),
        requeued=_seconds(group.requeued),
        reserved=_reserved(group.reserved),
        places={pod.name: _seat(places[pod.name]) for pod in group.pods if pod.name in places},
    )


def _reserved(kept: Reservation | None) -> doc.Reserved | None:
    if kept is None:
        return None
    seats = {seat.pod: doc.Seat(node=seat.node, devices=list(seat.devices)) for seat in kept.seats}
    return doc.Reserved(start=Seconds(kept.start), places=seats)


def _seat(place: Place) -> doc.Seat:
    return doc.Seat(node=place.node, devices=list(place.devices), leaving=place.leaving)


def _inside(part: SubGroup, path: str) -> dict[str, Any]:
    """What a part of a gang has beside its name; pods that are called as they would be anyway are only counted."""
    found: dict[str, Any] = {"min": part.min, "topology": _constraint(part.topology)}
    if part.children:
        found["sub_groups"] = [
            parts.Group(name=child.name, **_inside(child, f"{path}-{child.name}")) for child in part.children
        ]
        return found
    runs = list(_runs(part.pods))
    names = [pod.name for pod in part.pods]
    plain = len(runs) == 1 and runs[0].priority is None and not runs[0].gated
    if plain and names == [f"{path}-{number}" for number in range(len(names))]:
        return found | {"count": len(names), "pod": parts.Pod(**_spec(part.pods[0].spec))}
    return found | {"pods": runs}


def _runs(pods: Iterable[Pod]) -> Iterator[parts.Named]:
    for (spec, priority, gated), run in groupby(pods, key=lambda pod: (pod.spec, pod.priority, pod.gated)):
        yield parts.Named(names=[pod.name for pod in run], priority=priority, gated=gated, **_spec(spec))


def _constraint(asked: TopologyConstraint | None) -> parts.Constraint | None:
    if asked is None:
        return None
    return parts.Constraint(topology=asked.topology, required=asked.required, preferred=asked.preferred)


def _spec(spec: PodSpec) -> dict[str, Any]:
    simple = all(one.operator is Operator.IN and len(one.values) == 1 for one in spec.node_selector.requirements)
    labels = {one.key: one.values[0] for one in spec.node_selector.requirements} if simple else {}
    simple = simple and LabelSelector.of(labels) == spec.node_selector
    return {
        **_gpus(spec.gpu),
        "models": sorted(spec.gpu.models),
        "cpu": Millicores(spec.cpu),
        "memory": Bytes(spec.memory),
        "ephemeral_storage": Bytes(spec.ephemeral_storage),
        "extended": dict(spec.extended),
        "namespace": spec.namespace,
        "labels": dict(spec.labels),
        "node_selector": labels if simple else {},
        "node_requirements": [] if simple else _requirements(spec.node_selector),
        "node_affinity": [_requirements(one) for one in spec.node_affinity],
        "tolerations": [
            parts.Toleration(key=one.key, value=one.value, exists=one.exists, effect=one.effect)
            for one in spec.tolerations
        ],
        "affinity": [_term(one) for one in spec.affinity],
        "anti_affinity": [_term(one) for one in spec.anti_affinity],
        "host_ports": list(spec.host_ports),
        "guaranteed": spec.guaranteed,
        "containers": [
            parts.Container(
                cpu=Millicores(one.cpu), memory=Bytes(one.memory), gpus=one.gpus, extended=dict(one.extended)
            )
            for one in spec.containers
        ],
    }


def _gpus(gpu: GpuRequest) -> dict[str, Any]:
    if gpu.memory:
        return {"gpus": gpu.count, "gpu_memory": Bytes(gpu.memory)}
    if gpu.whole:
        return {"gpus": gpu.count}
    if gpu.count == 1:
        return {"gpus": gpu.share / DEVICE}
    return {"gpus": gpu.count, "gpu_share": gpu.share / DEVICE}


def _requirements(selector: LabelSelector) -> list[parts.Requirement]:
    return [
        parts.Requirement(key=one.key, operator=one.operator, values=list(one.values)) for one in selector.requirements
    ]


def _term(term: AffinityTerm) -> parts.Affinity:
    return parts.Affinity(
        match=_requirements(term.selector), topology_key=term.topology_key, namespaces=sorted(term.namespaces)
    )


def _budget(budget: DisruptionBudget) -> doc.Allowance:
    return doc.Allowance(
        name=budget.name,
        allowed=budget.allowed,
        namespace=budget.namespace,
        requirements=_requirements(budget.selector),
    )


def _policy(situation: Situation) -> doc.Policy:
    rules = doc.switches(situation.rules)
    rules = {**rules, "staleness_grace": LongestSeconds(situation.rules.staleness_grace)}
    rules["ageing_cap"] = None if math.isinf(situation.rules.ageing_cap) else situation.rules.ageing_cap
    return doc.Policy(placement=situation.placement, actions=situation.actions, **rules)
