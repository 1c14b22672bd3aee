"""What distance costs a job: the factor by which a step takes longer than in the best place.

    step time multiplier   s = 1 - f + f * r

with `f` the exposed share of a step that is communication, measured in the best place, and `r` the bandwidth there
over the bandwidth of the worst link that is crossed. With two kinds of traffic, each with its own f and r, the terms
add up: ``s = 1 + f1 * (r1 - 1) + f2 * (r2 - 1)``.

The ratios are measured bandwidths where there are any: NVLink 4 ring 370 GB/s, one 400 Gb/s NIC 46 to 48, PCIe 5 50 to
57 (nccl#1264, nccl-tests#290, ik_llama.cpp#1022); Arnold (arXiv 2509.15940) lost 17 % of collective bandwidth between
pods, r = 1.2, and up to 70 % point to point, r = 3.3. With f = 0.4 that gives 8 %, and they gained 10.6 % end to end.
Assumed, for want of a measurement: another leaf under one spine (1.15), PCIe between host bridges (1.2) and sockets
(2), a NIC on the other socket (1.3), and NVLink traffic beyond one leaf (the leaf's ratio times the network's).

How to use it: a simulator that moves a job, or starts it, asks `spread` where its pods are and multiplies the work that
is left by `Traffic.multiplier` of that; with no traffic the factor is 1 everywhere. Nothing here decides on a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.model.locality import Link
from quartermaster.model.node import Node
from quartermaster.model.topology import Topology

HOST_LABEL: Final = "kubernetes.io/hostname"


class Tier(IntEnum):
    """The farthest that a job's pods are apart, nearest first."""

    NODE = 0
    FABRIC = 1
    LEAF = 2
    SPINE = 3
    CORE = 4


FABRIC_RATIO: Final[Mapping[Tier, float]] = {
    Tier.NODE: 1.0,
    Tier.FABRIC: 1.0,
    Tier.LEAF: 370 / 47,
    Tier.SPINE: 370 / 47 * 1.15,
    Tier.CORE: 370 / 47 * 1.2,
}
"""r of traffic that wants NVLink (tensor parallel), by tier."""

NETWORK_RATIO: Final[Mapping[Tier, float]] = {
    Tier.NODE: 1.0,
    Tier.FABRIC: 1.0,
    Tier.LEAF: 1.0,
    Tier.SPINE: 1.15,
    Tier.CORE: 1.2,
}
"""r of collectives that the network carries anyway (data and pipeline parallel), by tier."""

LINK_RATIO: Final[Mapping[Link, float]] = {
    Link.NVLINK: 1.0,
    Link.SWITCH: 370 / 50,
    Link.NODE: 370 / 50 * 1.2,
    Link.SYS: 370 / 50 * 1.2 * 2,
}
"""r of traffic that wants NVLink, by the worst link inside a node."""

FAR_NIC_RATIO: Final = 1.3
"""r of network traffic from a GPU whose NIC is on the other socket."""

POINT_TO_POINT_RATIO: Final = 3.3
"""The worst r that was seen for point-to-point traffic across the core; for studies of the worst case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where a job is: the farthest that its pods are apart, the worst link inside its nodes, a NIC across a socket."""

    tier: Tier = Tier.NODE
    link: Link = Link.NVLINK
    far_nic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Exposed shares of a step (0 to 1, together at most 1): traffic that wants NVLink, and traffic for the network."""

    fabric: float = 0.0
    network: float = 0.0

    def __post_init__(self) -> None:
        if not (self.fabric >= 0 and self.network >= 0 and self.fabric + self.network <= 1):
            raise InvalidInput(
                "traffic", f"shares {self.fabric:g} and {self.network:g}", "give shares of 0 to 1, together at most 1"
            )

    def multiplier(self, where: Spread) -> float:
        """How many times as long a step takes as in the best place: 1 or more."""
        fabric = max(FABRIC_RATIO[where.tier], LINK_RATIO[where.link])
        network = NETWORK_RATIO[where.tier] * (FAR_NIC_RATIO if where.far_nic and where.tier > Tier.NODE else 1.0)
        return slowdown(self.fabric, fabric) + slowdown(self.network, network) - 1


def slowdown(share: float, ratio: float) -> float:
    """The formula of the module for one kind of traffic."""
    return 1 - share + share * ratio


def spread(places: Sequence[tuple[Node, Sequence[int]]], topology: Topology | None = None) -> Spread:
    """Where pods are that sit on these nodes with these devices, by index.

    Without a topology, different nodes are under one leaf; without a locality, GPUs of a node are joined by NVLink.
    """
    devices: dict[str, set[int]] = {}
    nodes: dict[str, Node] = {}
    for node, here in places:
        nodes[node.name] = node
        devices.setdefault(node.name, set()).update(here)
    known = {name: node for name, node in nodes.items() if node.locality is not None}
    links = [_worst_link(node, devices[name]) for name, node in known.items()]
    return Spread(
        tier=_tier(list(nodes.values()), topology),
        link=max(links, default=Link.NVLINK),
        far_nic=any(_far_nic(node, devices[name]) for name, node in known.items()),
    )


def _worst_link(node: Node, devices: set[int]) -> Link:
    assert node.locality is not None, "asked only of nodes that say what they are like inside"
    return max((node.locality.link(one, other) for one, other in combinations(sorted(devices), 2)), default=Link.NVLINK)


def _far_nic(node: Node, devices: set[int]) -> bool:
    """Whether a GPU without a rail of its own has none in its zone either."""
    where = node.locality
    assert where is not None, "asked only of nodes that say what they are like inside"
    if not where.rails or not where.zones:
        return False
    served = [any(where.rails[gpu] >= 0 for gpu in zone.gpus) for zone in where.zones]
    return any(
        not has and device in zone.gpus for device in devices for zone, has in zip(where.zones, served, strict=True)
    )


def _tier(nodes: Sequence[Node], topology: Topology | None) -> Tier:
    if len(nodes) < 2:
        return Tier.NODE
    if topology is None:
        return Tier.LEAF
    hops = 0
    for depth in range(len(topology.levels) - 1, -1, -1):
        level = topology.levels[depth]
        if level.label == HOST_LABEL:
            continue
        paths = {tuple(node.labels.get(above.label) for above in topology.levels[: depth + 1]) for node in nodes}
        if len(paths) == 1 and None not in next(iter(paths)):
            return Tier.FABRIC if level.hard else min(Tier.CORE, Tier(Tier.LEAF + hops))
        hops = min(2, hops + (not level.hard))
    return Tier.CORE
