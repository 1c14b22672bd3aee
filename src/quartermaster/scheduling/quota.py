"""Which resources are under quota, and what a pod or a gang costs in them.

Amounts are tuples of integers in one fixed order of resources, because the order of a cycle asks for sums and
comparisons of them some hundred thousand times: no hashing, no rounding, and what is added can be taken away exactly.

A pod that asks for GPU *memory* has no cost in devices until its device is known. Quota has to hold wherever the pod
lands, and a slice of given bytes is the largest part of the smallest device; yet a gate that assumed the smallest
would refuse pods which fit. The field's answer is kept: the gate reads the request on the largest device of the cluster
(never refuse what could be within the limit), fair share on the smallest (never promise less than may be used).
The caller says which by the `gpu_memory` it passes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.units import CPU, DEVICE, GPU, MEMORY, gpu_model_resource

Amounts = tuple[int, ...]
"""One amount per quota resource, in the integers of `model.units` (GPUs in micro-GPU)."""

QUOTA_RESOURCES: Final = (CPU, MEMORY, GPU)
"""What every queue shares, with or without a quota for it. GPU models follow where a queue names one."""

_MODELS: Final = f"{GPU}/"


def quota_resources(tree: QueueTree) -> tuple[str, ...]:
    """The resources under quota in `tree`: the three that always are, then each GPU model some queue has a quota for."""
    models = {resource for queue in tree for resource in queue.quotas if resource.startswith(_MODELS)}
    return (*QUOTA_RESOURCES, *sorted(models))


def per_unit(resource: str) -> int:
    """How many internal units one unit of a quota has: quotas count GPUs in devices, everything inside in micro-GPU."""
    return DEVICE if resource == GPU or resource.startswith(_MODELS) else 1


def to_internal(value: float, resource: str) -> float:
    """A quota in internal units: a whole number, or infinite. Rounded, since 0.1 devices are 100,000 micro-GPU."""
    return value if math.isinf(value) else float(round(value * per_unit(resource)))


def quota_request(spec: PodSpec, *, resources: tuple[str, ...], gpu_memory: int = 0, model: str = "") -> Amounts:
    """What one pod of `spec` is charged, in the order of `resources`.

    `gpu_memory` is the memory of a device, in bytes, by which a memory request is read; a request that such a device
    cannot meet, or whose device is unknown (0), counts as whole devices. `model` is the GPU model the pod is bound to;
    unbound, a model is charged only when the request leaves no choice of it.
    """
    gpu = spec.gpu
    share = gpu.share
    if gpu.memory:
        on_device = gpu.share_on(gpu_memory) if gpu_memory else None
        share = DEVICE if on_device is None else on_device
    devices = gpu.count * share
    if not model and len(gpu.models) == 1:
        (model,) = gpu.models
    charged = {CPU: spec.cpu, MEMORY: spec.memory, GPU: devices}
    if model and devices:
        charged[gpu_model_resource(model)] = devices
    return tuple([charged.get(resource, 0) for resource in resources])


def group_request(
    group: PodGroup, *, resources: tuple[str, ...], gpu_memory: int = 0, costs: dict[PodSpec, Amounts] | None = None
) -> Amounts:
    """What the smallest start of `group` is charged: the first `min` pods, or sub-groups, of every node of its tree.

    `costs` remembers specs between calls with the same resources and device; groups mostly repeat each other's.
    """
    known: dict[PodSpec, Amounts] = {} if costs is None else costs
    total = [0] * len(resources)
    for spec, count in Counter(_smallest_start(group.root)).items():
        cost = known.get(spec)
        if cost is None:
            cost = known[spec] = quota_request(spec, resources=resources, gpu_memory=gpu_memory)
        for column, amount in enumerate(cost):
            total[column] += count * amount
    return tuple(total)


def _smallest_start(root: SubGroup) -> Iterator[PodSpec]:
    for pod in islice(root.pods, root.minimum):
        yield pod.spec
    for child in islice(root.children, root.minimum):
        yield from _smallest_start(child)


def as_mapping(amounts: Amounts, resources: tuple[str, ...]) -> Mapping[str, float]:
    """Amounts by name in the units of quotas (GPUs in devices), as `fair_shares` and people read them."""
    return {name: amount / per_unit(name) for name, amount in zip(resources, amounts, strict=True)}
