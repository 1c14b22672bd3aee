"""What a cluster has and how much of it is in use, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from quartermaster.api import nodes as api_nodes
from quartermaster.api import pods as api_pods
from quartermaster.api.objects import NodeObject, PodObject, read
from quartermaster.kube.api import Json
from quartermaster.local.stages.paths import look
from quartermaster.model.units import DEVICE

MIG = "nvidia.com/mig-"


def is_ready(node: Json) -> bool:
    """Its condition Ready."""
    return look(node, ".status.conditions[type=Ready].status") == "True"


def counts(nodes: Collection[Json], pods: Collection[Json]) -> Json:
    """Nodes, GPUs and MIG instances, of which used; pods by phase."""
    known = [read(PodObject, pod) for pod in pods]
    held = [pod for pod in known if pod.spec.node_name and not api_pods.ended(pod)]
    return {
        "nodes": {"ready": sum(map(is_ready, nodes)), "total": len(nodes)},
        "gpus": {
            "used": round(sum(map(gpus_of, held)), 2),
            "total": sum(api_nodes.gpus_in(read(NodeObject, node)) for node in nodes),
        },
        "mig": {
            "used": sum(_instances(api_pods.requests(pod.spec).items()) for pod in held),
            "total": sum(_instances((look(node, ".status.allocatable") or {}).items()) for node in nodes),
        },
        "pods": dict(sorted(Counter(pod["status"].get("phase", "Unknown") for pod in pods).items())),
    }


def gpus_of(pod: PodObject) -> float:
    """How many GPUs a pod asks for; a share is a part of one."""
    gpu = api_pods.spec_from(pod).gpu
    return gpu.count * gpu.share / DEVICE


def _instances(amounts: Iterable[tuple[str, str | int]]) -> int:
    return sum(int(amount) for name, amount in amounts if name.startswith(MIG))
