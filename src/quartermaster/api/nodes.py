"""A Node object as the scheduler's node."""

from __future__ import annotations

from typing import Final

from quartermaster.api.objects import NodeObject
from quartermaster.api.quantities import milli, whole
from quartermaster.api.selecting import taint
from quartermaster.model.labels import Effect, Taint
from quartermaster.model.node import MAX_DEVICES, UNBOUNDED, Node
from quartermaster.model.units import MIB

GPU_RESOURCE: Final = "nvidia.com/gpu"
PRODUCT: Final = "nvidia.com/gpu.product"
MEMORY: Final = "nvidia.com/gpu.memory"
NATIVE: Final = frozenset(("cpu", "memory", "ephemeral-storage", "pods", GPU_RESOURCE))
_NOT_READY: Final = Taint(key="node.kubernetes.io/not-ready", effect=Effect.NO_SCHEDULE)


def node_from(value: NodeObject) -> Node:
    """The node with its allocatable amounts. One that is not Ready counts as tainted, which DaemonSets tolerate."""
    labels = value.labels
    amounts = value.status.allocatable or value.status.capacity or {}
    taints = tuple(map(taint, value.spec.taints or ()))
    ready = any(item.type == "Ready" and item.status == "True" for item in value.status.conditions or ())
    if not ready and _NOT_READY not in taints:
        taints += (_NOT_READY,)
    memory = labels.get(MEMORY, "")
    return Node(
        name=value.metadata.name,
        cpu=milli(amounts.get("cpu")),
        memory=whole(amounts.get("memory")),
        ephemeral_storage=whole(amounts["ephemeral-storage"]) if "ephemeral-storage" in amounts else UNBOUNDED,
        pods=whole(amounts["pods"]) if "pods" in amounts else UNBOUNDED,
        extended={name: whole(amount) for name, amount in amounts.items() if name not in NATIVE},
        gpus=min(MAX_DEVICES, gpus_in(value)),
        gpu_model=labels.get(PRODUCT, ""),
        gpu_memory=int(memory) * MIB if memory.isdecimal() else 0,
        labels=labels,
        taints=taints,
        schedulable=not value.spec.unschedulable,
    )


XID: Final = "quartermaster.dev/xid"
"""On a node: ``CODE:GPU[,GPU]``: which devices reported an Xid error."""


def gpus_in(value: NodeObject) -> int:
    """Devices in a node, whether or not they are healthy."""
    return max(
        whole((amounts or {}).get(GPU_RESOURCE)) for amounts in (value.status.capacity, value.status.allocatable)
    )


def lost_devices(value: NodeObject) -> tuple[int, ...]:
    """The indexes of devices that its device plugin no longer offers.

    The plugin only counts; which they are is what the Xid mark says, else the last ones are taken for lost.
    """
    have = gpus_in(value)
    allocatable = value.status.allocatable or {}
    count = have - whole(allocatable.get(GPU_RESOURCE)) if GPU_RESOURCE in allocatable else 0
    marked = value.annotations.get(XID, "").partition(":")[2].split(",")
    named = sorted({int(part) for part in marked if part.isdecimal() and int(part) < have})
    return tuple((named + [index for index in reversed(range(have)) if index not in named])[:count])
