"""Which resources are under quota, what a pod or a gang costs in them, and whether a queue may take it.

Costs are tuples of integers in one fixed order of resources, because sums of them are asked for some hundred thousand
times; the gate speaks mappings, as the state's ledger does. Either way what is added can be taken away exactly.

A pod that asks for GPU *memory* has no cost in devices until its device is known. Quota has to hold wherever the pod
lands, and a slice of given bytes is the largest part of the smallest device; yet a gate that assumed the smallest
would refuse pods which fit. The field's answer is kept: the gate reads the request on the largest device of the cluster
(never refuse what could be within the limit), fair share on the smallest (never promise less than may be used).
The caller says which by the `gpu_memory` it passes.

The gate refuses in two ways. A **limit** holds for everything a queue and the queues below it use. What is **deserved**
holds for the non-preemptible part alone: it can never be reclaimed, so it may only occupy what its queue, and every
queue above, is guaranteed; more would turn a neighbour's guarantee into a hope.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from quartermaster.cluster.state import ClusterState
from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.units import CPU, DEVICE, GIB, GPU, MEMORY, MIB, gpu_model_resource

Amounts = tuple[int, ...]
"""One amount per quota resource, in the integers of `model.units` (GPUs in micro-GPU)."""

QUOTA_RESOURCES: Final = (CPU, MEMORY, GPU)
"""What every queue shares, with or without a quota for it. GPU models follow where a queue names one."""

_MODELS: Final = f"{GPU}/"


def quota_resources(tree: QueueTree) -> tuple[str, ...]:
    """The resources under quota in `tree`: three always are, then each GPU model that some queue has a quota for."""
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


class RefusalReason(StrEnum):
    """Which rule said no; the values are the reasons people know from other schedulers."""

    OVER_LIMIT = "OverLimit"
    NON_PREEMPTIBLE_OVER_QUOTA = "NonPreemptibleOverQuota"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a queue may not take more: the lowest queue that refuses, and the numbers, in integer units.

    `used` is what counts against the bound before the request: everything for a limit, the non-preemptible part for
    what is deserved.
    """

    reason: RefusalReason
    queue: str
    resource: str
    used: int
    requested: int
    bound: int

    def __str__(self) -> str:
        """One sentence in people's units."""
        bound, used, more = (readable(amount, self.resource) for amount in (self.bound, self.used, self.requested))
        if self.reason is RefusalReason.OVER_LIMIT:
            return f"queue '{self.queue}': limit of {bound} {self.resource}: {used} in use, {more} more asked"
        return (
            f"queue '{self.queue}': non-preemptible pods may hold the {bound} {self.resource} it deserves: "
            f"{used} held, {more} more asked"
        )


def readable(amount: int, resource: str) -> str:
    """An amount in people's units: devices, cores, bytes as GiB, MiB or bytes."""
    if resource == MEMORY:
        for size, name in ((GIB, "GiB"), (MIB, "MiB")):
            if abs(amount) >= size or not amount:
                return f"{round(amount / size, 3):g} {name}"
        return f"{amount} bytes"
    scale = 1000 if resource == CPU else per_unit(resource)
    return f"{amount / scale:.6f}".rstrip("0").rstrip(".")


class _Ledger:
    """The books of one queue: everything used, the non-preemptible part, and the bounds of both.

    `limits` has the finite ones only, so that a queue without any is left out of the walk.
    """

    __slots__ = ("deserved", "firm", "limits", "name", "used")

    def __init__(self, name: str, limits: dict[str, int], deserved: dict[str, float]) -> None:
        self.name = name
        self.limits = limits
        self.deserved = deserved
        self.used: dict[str, int] = {}
        self.firm: dict[str, int] = {}


class QuotaGate:
    """Usage of every queue of a tree, and whether it may grow.

    Starts from what `state` holds, and is told of every change after that: a charge walks the path from the leaf to the
    root once, so what an ancestor uses is never summed over its children. Pods of queues that the tree does not know
    are charged to nobody.

    Amounts are by resource in integer units. Resources that are not under quota (`quota_resources`) are carried along
    and never refused; a GPU model is under quota in the whole tree as soon as one queue names it.
    """

    def __init__(self, tree: QueueTree, state: ClusterState) -> None:
        resources = quota_resources(tree)
        self._tree = tree
        self._ledgers: dict[str, _Ledger] = {}
        for queue in tree:
            limits = {name: to_internal(queue.quota(name).limit, name) for name in resources}
            self._ledgers[queue.name] = _Ledger(
                queue.name,
                {name: int(limit) for name, limit in limits.items() if not math.isinf(limit)},
                {name: to_internal(queue.quota(name).deserved, name) for name in resources},
            )
        self._paths = {queue.name: tuple(self._ledgers[up.name] for up in tree.path(queue.name)) for queue in tree}
        self._limited = {name: tuple(one for one in path if one.limits) for name, path in self._paths.items()}
        for (name, preemptible), held in zip(state.accounts, state.held, strict=True):
            if name in tree:
                self.add(name, held, preemptible=preemptible)

    def gate(self, leaf: str, amounts: Mapping[str, int], *, preemptible: bool) -> Refusal | None:
        """Why `amounts` may not be charged to `leaf`; None if they may.

        A resource of which nothing is asked is never the reason, even where its limit was lowered below what is in
        use. All limits are looked at before anything deserved: to be preemptible would cure the latter, nothing cures
        the former. Where no queue on the path has a limit, a preemptible pod costs one look-up.
        """
        limited = self._limited.get(leaf)
        if limited is None:
            self._tree.path(leaf)  # raises for a queue that does not exist
            raise AssertionError(leaf)
        for ledger in limited:
            limits, used = ledger.limits, ledger.used
            for resource, amount in amounts.items():
                if amount and resource in limits and used.get(resource, 0) + amount > limits[resource]:
                    return Refusal(
                        reason=RefusalReason.OVER_LIMIT,
                        queue=ledger.name,
                        resource=resource,
                        used=used.get(resource, 0),
                        requested=amount,
                        bound=limits[resource],
                    )
        return None if preemptible else self._beyond_deserved(leaf, amounts)

    def _beyond_deserved(self, leaf: str, amounts: Mapping[str, int]) -> Refusal | None:
        for ledger in self._paths[leaf]:
            for resource, amount in amounts.items():
                bound = ledger.deserved.get(resource, math.inf)
                if amount and ledger.firm.get(resource, 0) + amount > bound:
                    return Refusal(
                        reason=RefusalReason.NON_PREEMPTIBLE_OVER_QUOTA,
                        queue=ledger.name,
                        resource=resource,
                        used=ledger.firm.get(resource, 0),
                        requested=amount,
                        bound=int(bound),
                    )
        return None

    def add(self, leaf: str, amounts: Mapping[str, int], *, preemptible: bool) -> None:
        """Charge `amounts` to a queue and all queues above it; whether they may be is not asked."""
        for ledger in self._paths[leaf]:
            _book(ledger.used, amounts, 1)
            if not preemptible:
                _book(ledger.firm, amounts, 1)

    def remove(self, leaf: str, amounts: Mapping[str, int], *, preemptible: bool) -> None:
        """Take a charge away: the exact inverse of `add` with the same arguments."""
        for ledger in self._paths[leaf]:
            _book(ledger.used, amounts, -1)
            if not preemptible:
                _book(ledger.firm, amounts, -1)

    def used(self, queue: str) -> Mapping[str, int]:
        """What a queue and everything below it uses, kept up to date; zeros are left out."""
        return self._ledgers[queue].used

    def non_preemptible(self, queue: str) -> Mapping[str, int]:
        """The part of `used` that cannot be taken back."""
        return self._ledgers[queue].firm


def _book(book: dict[str, int], amounts: Mapping[str, int], sign: int) -> None:
    for resource, amount in amounts.items():
        left = book.get(resource, 0) + sign * amount
        if left:
            book[resource] = left
        else:
            book.pop(resource, None)
