"""What is near what inside a node: NUMA zones and the kubelet that minds them, and the links between GPUs.

A zone has cores, memory and devices of its own; a kubelet with a Topology Manager refuses pods that it cannot give what
they ask from as few zones as its policy wants. Links say over what two GPUs of a node reach each other. All of it is
optional: a node that says nothing is one heap of devices.

Not described: distances between zones (``prefer-closest-numa-nodes``), sockets (``align-by-socket``), and the groups
of zones that the static Memory Manager forms once a pod's memory spans several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.units import CPU, MEMORY

MAX_ZONES: Final = 8
"""Zones per node: the kubelet's own bound, since it tries every set of them."""


class TopologyPolicy(StrEnum):
    """The kubelet's ``--topology-manager-policy``: whom it refuses."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"


class TopologyScope(StrEnum):
    """The kubelet's ``--topology-manager-scope``: what it aligns, each container or the pod as a whole."""

    CONTAINER = "container"
    POD = "pod"


class Link(IntEnum):
    """What joins two GPUs of a node, best first (the names of ``nvidia-smi topo -m``)."""

    NVLINK = 0
    SWITCH = 1
    NODE = 2
    SYS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A NUMA zone: what it can give of each resource, and the indexes of its GPUs."""

    id: str
    allocatable: tuple[tuple[str, int], ...] = ()
    gpus: tuple[int, ...] = ()

    @staticmethod
    def of(name: str, *, gpus: tuple[int, ...] = (), **amounts: int) -> Zone:
        """A zone from keyword amounts (``cpu=32000``); resources with other names go through the constructor."""
        return Zone(id=name, allocatable=tuple(sorted(amounts.items())), gpus=gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """A node's zones, the managers of its kubelet, and its links.

    `pins_cpu`, `pins_memory`: the static CPU or Memory Manager is on. `threads`: CPUs are given out in multiples of so
    many (the threads of a core, under ``full-pcpus-only``), and a pod that asks for a part of a core is refused.
    `nvlink` are sets of GPUs that reach each other over NVLink (one set on an NVSwitch board, pairs with bridges),
    `switches` sets under one PCIe switch. `rails` has the network rail (NIC) nearest to each GPU, -1 for none;
    `network` the resources that are NICs.
    """

    policy: TopologyPolicy = TopologyPolicy.NONE
    scope: TopologyScope = TopologyScope.CONTAINER
    pins_cpu: bool = False
    pins_memory: bool = False
    threads: int = 1
    zones: tuple[Zone, ...] = ()
    nvlink: tuple[tuple[int, ...], ...] = ()
    switches: tuple[tuple[int, ...], ...] = ()
    rails: tuple[int, ...] = ()
    network: frozenset[str] = frozenset()
    aligned: tuple[str, ...] = field(init=False, compare=False, default=())
    """The resources that the kubelet gives out zone by zone, sorted; GPUs apart."""

    def __post_init__(self) -> None:
        if len(self.zones) > MAX_ZONES:
            raise InvalidInput("locality: zones", f"{len(self.zones)} given", f"a node has at most {MAX_ZONES}")
        if self.threads < 1:
            raise InvalidInput("locality: threads", f"{self.threads} per core", "give 1 or more")
        _disjoint("zones", tuple(zone.gpus for zone in self.zones))
        _disjoint("nvlink", self.nvlink)
        _disjoint("switches", self.switches)
        names = {name for zone in self.zones for name, _ in zone.allocatable}
        for zone in self.zones:
            for name, amount in zone.allocatable:
                if amount < 0:
                    raise InvalidInput(f"zone '{zone.id}': {name}", f"{amount} is negative", "amounts are 0 or more")
        names -= {CPU} if not self.pins_cpu else set()
        names -= {MEMORY} if not self.pins_memory else set()
        object.__setattr__(self, "aligned", tuple(sorted(names)))

    def check(self, *, gpus: int, where: str) -> None:
        """Raises `InvalidInput` when it speaks of devices that a node with `gpus` of them does not have."""
        groups = (*(zone.gpus for zone in self.zones), *self.nvlink, *self.switches)
        for index in (index for group in groups for index in group):
            if not 0 <= index < gpus:
                raise InvalidInput(f"{where}: locality", f"speaks of GPU {index}", f"the node has {gpus}")
        if self.rails and len(self.rails) != gpus:
            raise InvalidInput(f"{where}: locality: rails", f"{len(self.rails)} given", f"give one for each of {gpus}")

    def amounts(self, zone: Zone) -> tuple[int, ...]:
        """What a zone can give of each aligned resource, in their order."""
        have: Mapping[str, int] = dict(zone.allocatable)
        return tuple(have.get(name, 0) for name in self.aligned)

    def link(self, one: int, other: int) -> Link:
        """What joins two GPUs."""
        if _together(self.nvlink, one, other):
            return Link.NVLINK
        if _together(self.switches, one, other):
            return Link.SWITCH
        zones = tuple(zone.gpus for zone in self.zones)
        return Link.NODE if not zones or _together(zones, one, other) else Link.SYS


def _together(groups: tuple[tuple[int, ...], ...], one: int, other: int) -> bool:
    return any(one in group and other in group for group in groups)


def _disjoint(what: str, groups: tuple[tuple[int, ...], ...]) -> None:
    seen: set[int] = set()
    for index in (index for group in groups for index in group):
        if index in seen:
            raise InvalidInput(f"locality: {what}", f"GPU {index} is named twice", "name each GPU once")
        seen.add(index)
