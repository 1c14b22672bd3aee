"""What the kubelet's Topology Manager will say to a pod, and what it then takes from which zone.

Every manager (cpu, memory, each kind of device) gives **hints**: the sets of zones in which it could still serve the
request, *preferred* if no smaller set could serve it were the node empty. The Topology Manager takes one hint of each,
intersects them, and calls the result preferred if all of them were preferred and equal. Of all such choices it takes
the best: preferred first, then the fewest zones, then the lowest; among those not preferred, the number of zones
nearest below what the most demanding manager needs. Then ``single-numa-node`` and ``restricted`` refuse what is not
preferred, the former looking at single zones only.

The kubelet tries every combination; here the same answer comes from sets of masks (tests compare the two). Facts:
Kubernetes, pkg/kubelet/cm/{topologymanager/policy.go, cpumanager/policy_static.go, devicemanager/topology_hints.go}.
What `model.locality` does not describe is not predicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from quartermaster.cluster.inside import Amounts, Inside, bits, less, pack
from quartermaster.model.locality import Locality, TopologyPolicy, TopologyScope
from quartermaster.model.pod import Container, PodSpec
from quartermaster.model.units import CPU, DEVICE, MEMORY

CORE = 1000
"""Millicores to a CPU: only whole CPUs are pinned."""


class Demand(NamedTuple):
    """One manager's view of a request: what each zone has in all, what it has free, and how much is asked (over 0)."""

    total: tuple[int, ...]
    free: tuple[int, ...]
    asked: int


class Verdict(NamedTuple):
    """Whether the pod is admitted, the zones that it is kept to (bit mask), and whether that is as good as it gets."""

    admitted: bool
    zones: int
    preferred: bool


class Unit(NamedTuple):
    """What is aligned as one, a container or the pod: amounts per aligned resource, and whole GPUs."""

    amounts: tuple[int, ...]
    gpus: int


def verdict(policy: TopologyPolicy, demands: Sequence[Demand], zones: int) -> Verdict:
    """The Topology Manager's answer to requests on a node with that many zones."""
    everywhere = (1 << zones) - 1
    if policy is TopologyPolicy.NONE or not demands:
        return Verdict(admitted=True, zones=everywhere, preferred=policy is not TopologyPolicy.NONE)
    hints = [_hints(demand) for demand in demands]
    common = set.intersection(*(preferred for _, preferred in hints))
    if policy is TopologyPolicy.SINGLE_NUMA_NODE:
        common = {mask for mask in common if mask.bit_count() == 1}
    if common:
        return Verdict(admitted=True, zones=min(common), preferred=True)  # All are as wide.
    if policy is not TopologyPolicy.BEST_EFFORT:
        return Verdict(admitted=False, zones=everywhere, preferred=False)
    return Verdict(admitted=True, zones=_second_best([found for found, _ in hints], everywhere), preferred=False)


def _hints(demand: Demand) -> tuple[set[int], set[int]]:
    """The sets of zones that can serve a demand now, and those among them that are preferred."""
    width, found = len(demand.total), set[int]()
    for mask, members in _masks(len(demand.total)):
        if mask.bit_count() < width and sum(demand.total[zone] for zone in members) >= demand.asked:
            width = mask.bit_count()
        if sum(demand.free[zone] for zone in members) >= demand.asked:
            found.add(mask)
    return found, {mask for mask in found if mask.bit_count() == width}


@lru_cache
def _masks(zones: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((mask, tuple(bits(mask))) for mask in range(1, 1 << zones))


def _second_best(hints: Sequence[set[int]], everywhere: int) -> int:
    wanted = max((min(mask.bit_count() for mask in masks) for masks in hints if masks), default=0)
    merged = {everywhere}
    for masks in hints:
        if masks:  # A manager that could serve it nowhere has no say in where.
            merged = {one & other for one in merged for other in masks}
    merged.discard(0)

    def rank(mask: int) -> tuple[bool, int, int]:
        count = mask.bit_count()
        return count > wanted, count if count > wanted else -count, mask

    return min(merged, key=rank, default=everywhere)


# ---- a pod on a node


def units(spec: PodSpec, locality: Locality) -> tuple[Unit, ...]:
    """What the kubelet aligns of a pod: each container, or all of them together."""
    parts = spec.containers or (
        Container(
            cpu=spec.cpu,
            memory=spec.memory,
            gpus=spec.gpu.count if spec.gpu.whole else 0,
            extended=spec.extended,
        ),
    )
    found = [_unit(spec, part, locality) for part in parts]
    if locality.scope is TopologyScope.POD and len(found) > 1:
        found = [Unit(tuple(map(sum, zip(*(unit.amounts for unit in found), strict=True))), sum(u.gpus for u in found))]
    return tuple(unit for unit in found if unit.gpus or any(unit.amounts))


def _unit(spec: PodSpec, part: Container, locality: Locality) -> Unit:
    asked = dict(part.extended)
    asked[CPU] = part.cpu if spec.guaranteed and part.cpu % CORE == 0 else 0
    asked[MEMORY] = part.memory if spec.guaranteed else 0
    return Unit(tuple(asked.get(name, 0) for name in locality.aligned), part.gpus)


def splits_core(spec: PodSpec, locality: Locality) -> bool:
    """Whether a pod asks for pinned CPUs that are not whole cores, which the kubelet refuses."""
    if not locality.pins_cpu or locality.threads == 1 or not spec.guaranteed:
        return False
    asked = [part.cpu for part in spec.containers] or [spec.cpu]
    return any(cpu % CORE == 0 and cpu % (CORE * locality.threads) for cpu in asked)


def demands(unit: Unit, inside: Inside, locality: Locality) -> list[Demand]:
    """A unit's requests as the managers see them: GPUs last, and only those that are idle are free."""
    total = [locality.amounts(zone) for zone in locality.zones]
    found = [
        Demand(tuple(zone[index] for zone in total), tuple(zone[index] for zone in inside.zones), asked)
        for index, asked in enumerate(unit.amounts)
        if asked
    ]
    placed = any(zone.gpus for zone in locality.zones)
    if unit.gpus and placed:
        have = tuple(len(zone.gpus) for zone in locality.zones)
        idle = tuple(sum(inside.levels[gpu] == DEVICE for gpu in zone.gpus) for zone in locality.zones)
        found.append(Demand(have, idle, unit.gpus))
    return found


def draw(unit: Unit, zones: Amounts, locality: Locality, mask: int) -> Amounts:
    """What a unit takes from each zone: from those in `mask` as long as they have any, then from the others.

    Zones that are wholly free and wholly needed come first, then the fullest: so the CPU Manager packs. What nobody has
    is taken from the first zone all the same, which then has less than nothing: for pods that are there already.
    """
    taken = [[0] * len(unit.amounts) for _ in zones]
    for index, asked in enumerate(unit.amounts):
        total = [locality.amounts(zone)[index] for zone in locality.zones]
        free = [zone[index] for zone in zones]
        order = sorted(range(len(zones)), key=lambda zone: (not mask >> zone & 1, zone))
        left = asked
        for zone in _packed(order, total, free, mask, asked):
            part = min(left, max(0, free[zone]))
            taken[zone][index] += part
            left -= part
        if left and order:
            taken[order[0]][index] += left
    return tuple(tuple(zone) for zone in taken)


def _packed(order: Iterable[int], total: Sequence[int], free: Sequence[int], mask: int, asked: int) -> list[int]:
    def rank(zone: int) -> tuple[bool, bool, int, int]:
        whole = free[zone] == total[zone] and 0 < free[zone] <= asked
        return not mask >> zone & 1, not whole, 0 if whole else free[zone], zone

    return sorted(order, key=rank)


# ---- where it ends up


class Pick(Protocol):
    """Chooses devices for a unit: `count` idle ones of `levels`, those in `near` (bit mask of devices) if possible."""

    def __call__(self, levels: tuple[int, ...], near: int, count: int) -> int:
        """The devices as a bit mask."""
        ...


def settle(spec: PodSpec, locality: Locality, inside: Inside, pick: Pick) -> int | None:
    """Where a pod ends up in a node, as one number (see `inside`), less devices that it shares; None if refused."""
    if splits_core(spec, locality):
        return None
    zones, devices = inside.zones, 0
    held: Amounts = tuple((0,) * len(locality.aligned) for _ in locality.zones)
    for unit in units(spec, locality):
        said = verdict(locality.policy, demands(unit, inside, locality), len(locality.zones))
        if not said.admitted:
            return None
        mask = pick(inside.levels, devices_in(said.zones, locality), unit.gpus) if unit.gpus else 0
        if mask.bit_count() < unit.gpus:
            return None
        part = draw(unit, inside.zones, locality, said.zones)
        devices, held = devices | mask, less(held, part, -1)
        levels = tuple(0 if mask >> index & 1 else level for index, level in enumerate(inside.levels))
        inside = Inside(levels, less(inside.zones, part))
    if any(
        left < min(0, had)
        for row, was in zip(inside.zones, zones, strict=True)
        for left, had in zip(row, was, strict=True)
    ):
        return None  # No zones together have it: the kubelet's managers would fail to give it out.
    return pack(devices, held)


def devices_in(zones: int, locality: Locality) -> int:
    """The GPUs of some zones, both as bit masks."""
    return sum(1 << gpu for zone in bits(zones) for gpu in locality.zones[zone].gpus)


def believed(spec: PodSpec, locality: Locality, zones: Amounts, devices: int) -> Amounts:
    """What a pod that is there with these devices holds in each zone, when nobody has said.

    It is taken to hold what it can in the zones of its devices, else where it would have been put.
    """
    held: Amounts = tuple((0,) * len(locality.aligned) for _ in locality.zones)
    at = sum(1 << index for index, zone in enumerate(locality.zones) if any(devices >> gpu & 1 for gpu in zone.gpus))
    for unit in units(spec, locality):
        mask = at
        if not mask:
            asked = demands(Unit(unit.amounts, 0), Inside((), zones), locality)
            mask = verdict(locality.policy, asked, len(locality.zones)).zones
        part = draw(unit, zones, locality, mask)
        zones, held = less(zones, part), less(held, part, -1)
    return held
