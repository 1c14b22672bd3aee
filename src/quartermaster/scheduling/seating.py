"""Where inside a node a pod sits, for nodes with zones or links: asked per class and shape, and remembered.

The kubelet decides on zones (`cluster.numa` predicts it), we decide on devices inside them (`connected`). A pod that
the kubelet would refuse is not placed: it would be killed on arrival, and the scheduler would send the next one to the
same node.
"""

from __future__ import annotations

from typing import Final

from quartermaster.cluster.inside import bits, zones_of
from quartermaster.cluster.numa import settle, splits_core, units
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.model.locality import Locality, TopologyPolicy
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.connected import best_set

CLOSENESS: Final = 100.0
"""What a pod whose cores, memory and devices are all in one zone adds to a node's score; in n zones, an nth of it. The
weight is KAI's (reference of its scores: between packing and sharing)."""


def seat(state: ClusterState, number: int, shape: Shape) -> int | None:
    """The place that a pod of `shape` gets in nodes of a class that is looked into; None: the kubelet refuses it.

    One number, see `cluster.inside`; without devices that it shares, which are chosen by their level.
    """
    known: dict[int, int | None] = state.caches.setdefault(("seats", shape.id), {})
    if number not in known:
        inside, locality = state.classes.inside[number], locality_of(state, number)
        assert inside is not None, "asked only of classes that are looked into"
        assert locality is not None, "asked only of classes that are looked into"
        network = any(name in locality.network for name, amount in shape.spec.extended if amount)

        def pick(levels: tuple[int, ...], near: int, count: int) -> int:
            idle = sum(1 << index for index, level in enumerate(levels) if level == DEVICE)
            # Devices that are in no zone are near to all.
            everywhere = sum(1 << gpu for zone in locality.zones for gpu in zone.gpus)
            return best_set(locality, idle, near | ~everywhere, count, network=network)

        known[number] = settle(shape.spec, locality, inside, pick)
    return known[number]


def place_in(state: ClusterState, number: int, shape: Shape, level: int) -> int:
    """The whole place that a pod gets in nodes of a class that fits it, devices that it shares included.

    A pod that shares one device takes one with the free share `level`, a pod that shares several the fullest with room;
    the lowest index of equals.
    """
    place, inside = seat(state, number, shape), state.classes.inside[number]
    assert place is not None, "a filter let a pod on a node whose kubelet refuses it"
    assert inside is not None, "asked only of classes that are looked into"
    if shape.whole or not shape.count:
        return place
    if shape.count == 1:
        return place | 1 << inside.levels.index(level)
    share = shape.share_on(state.classes.profiles[state.classes.keys[number][0]].gpu_memory) or DEVICE
    room = sorted((free, index) for index, free in enumerate(inside.levels) if free >= share)
    return place | sum(1 << index for _, index in room[: shape.count])


def locality_of(state: ClusterState, number: int) -> Locality | None:
    """The locality of the nodes of a class."""
    return state.classes.profiles[state.classes.keys[number][0]].locality


def admits(state: ClusterState, number: int, shape: Shape) -> bool:
    """Whether the kubelet of nodes of a class that is otherwise fit would admit a pod of `shape`."""
    return state.classes.inside[number] is None or seat(state, number, shape) is not None


def refused(state: ClusterState, number: int, shape: Shape) -> str | None:
    """Why the kubelet would refuse a pod; None if it would not."""
    if admits(state, number, shape):
        return None
    locality = locality_of(state, number)
    assert locality is not None, "only a kubelet with zones refuses"
    if splits_core(shape.spec, locality):
        return "CPU pinning gives whole cores only"
    if locality.policy in {TopologyPolicy.NONE, TopologyPolicy.BEST_EFFORT}:
        return "insufficient unpinned resources in NUMA zones"
    return f"Topology Manager ({locality.policy.value})"


def closeness(state: ClusterState, number: int, shape: Shape) -> float:
    """How close together a pod would sit in nodes of a class: `CLOSENESS` over the number of zones that it is in.

    0 for pods that no zone matters to, and on nodes without zones.
    """
    locality = locality_of(state, number)
    if state.classes.inside[number] is None or locality is None or not locality.zones:
        return 0.0
    if not units(shape.spec, locality):
        return 0.0
    if locality.policy is TopologyPolicy.NONE:  # Nobody sees to it: cores may be anywhere.
        return CLOSENESS / len(locality.zones)
    word = seat(state, number, shape)
    assert word is not None, "only classes that fit are scored"
    return CLOSENESS / max(1, len(zones_of(word, locality)))


def most_in_a_zone(state: ClusterState, number: int) -> dict[str, int]:
    """The most that one zone of a class has free of each aligned resource, and of idle GPUs under ``GPUs``."""
    inside, locality = state.classes.inside[number], locality_of(state, number)
    if inside is None or locality is None or not locality.zones:
        return {}
    most = {name: max(zone[index] for zone in inside.zones) for index, name in enumerate(locality.aligned)}
    idle = sum(1 << index for index, level in enumerate(inside.levels) if level == DEVICE)
    most["GPUs"] = max(len([gpu for gpu in bits(idle) if gpu in zone.gpus]) for zone in locality.zones)
    return most
