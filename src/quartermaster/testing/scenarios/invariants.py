"""What must hold after every decision, whatever the policy: checked from outside, without asking the engine.

The engine has its own property tests; this is the second opinion that a scenario gets on every step. It looks at the
pods that were placed in the step, so that a cluster which is found overbooked or torn is no mistake of ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from quartermaster.model.node import Node
from quartermaster.model.pod import PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Topology
from quartermaster.model.units import CPU, DEVICE, EPHEMERAL_STORAGE, GPU, MEMORY, PODS

SLACK = 2
"""Micro-GPU by which shares that were rounded may miss a whole device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A pod on a node. `leaving`: its room is being given back; `nominated`: it waits there for room."""

    pod: str
    node: str
    devices: tuple[int, ...] = ()
    leaving: bool = False
    nominated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A cluster after a step; `fresh` are the pods that the step placed. A pod that is moved has two seats."""

    nodes: Sequence[Node]
    groups: Sequence[PodGroup]
    queues: QueueTree
    topologies: Mapping[str, Topology]
    seats: Sequence[Seat]
    fresh: Collection[str]


def broken(scene: Scene) -> Iterator[str]:
    """The invariants that do not hold, in words."""
    specs = {pod.name: pod.spec for group in scene.groups for pod in group.pods}
    touched = {seat.node for seat in scene.seats if seat.pod in scene.fresh}
    for node in scene.nodes:
        if node.name in touched:
            here = [seat for seat in scene.seats if seat.node == node.name]
            now = list(overbooked(node, [seat for seat in here if not seat.nominated], specs, "now"))
            yield from now
            if not now:
                yield from overbooked(node, [seat for seat in here if not seat.leaving], specs, "once others have left")
    staying = {seat.pod: seat for seat in scene.seats if not seat.leaving}
    nodes = {node.name: node for node in scene.nodes}
    for group in scene.groups:
        if any(pod.name in scene.fresh for pod in group.pods):
            if not satisfied(group.root, staying):
                yield f"group {group.name} is placed below its minimum"
            yield from _topology(group.root, staying, nodes, scene.topologies, within=group.name)
    yield from _limits(scene, staying, nodes, specs)


def overbooked(node: Node, seats: Iterable[Seat], specs: Mapping[str, PodSpec], when: str) -> Iterator[str]:
    """What these pods take of a node beyond what it has."""
    taken: Counter[str] = Counter()
    devices: Counter[int] = Counter()
    for seat in seats:
        spec = specs[seat.pod]
        taken.update({CPU: spec.cpu, MEMORY: spec.memory, EPHEMERAL_STORAGE: spec.ephemeral_storage, PODS: 1})
        taken.update(dict(spec.extended))
        share = spec.gpu.share_on(node.gpu_memory)
        devices.update(dict.fromkeys(seat.devices, DEVICE + SLACK + 1 if share is None else share))
    have = {CPU: node.cpu, MEMORY: node.memory, EPHEMERAL_STORAGE: node.ephemeral_storage, PODS: node.pods}
    have |= node.extended
    for resource, amount in taken.items():
        if amount > have.get(resource, 0):
            yield f"node {node.name}: {amount} {resource} of {have.get(resource, 0)} taken {when}"
    for device, share in devices.items():
        if device >= node.gpus or share > DEVICE + SLACK:
            yield f"node {node.name}: {share / DEVICE:g} of GPU {device} taken {when}"


def satisfied(part: SubGroup, staying: Collection[str]) -> bool:
    """Whether a part of a gang has its minimum, given the pods that are there."""
    if part.children:
        return sum(satisfied(child, staying) for child in part.children) >= part.minimum
    return sum(pod.name in staying for pod in part.pods) >= part.minimum


def _pods(part: SubGroup) -> Iterator[str]:
    for leaf in part.leaves():
        for pod in leaf.pods:
            yield pod.name


def _topology(
    part: SubGroup,
    staying: Mapping[str, Seat],
    nodes: Mapping[str, Node],
    topologies: Mapping[str, Topology],
    *,
    within: str,
) -> Iterator[str]:
    if part.topology is not None and part.topology.required:
        domains = {
            domain(nodes[staying[pod].node], topologies[part.topology.topology], part.topology.required)
            for pod in _pods(part)
            if pod in staying
        }
        if len(domains) > 1 or None in domains:
            yield f"group {within}: '{part.name}' is not inside one domain of '{part.topology.required}'"
    for child in part.children:
        yield from _topology(child, staying, nodes, topologies, within=within)


def domain(node: Node, topology: Topology, level: str) -> tuple[str, ...] | None:
    """The domain of a level that a node is in; None if it lacks a label on the way there."""
    labels = [step.label for step in topology.levels[: topology.depth(level) + 1]]
    if any(label not in node.labels for label in labels):
        return None
    return tuple(node.labels[label] for label in labels)


def _limits(
    scene: Scene, staying: Mapping[str, Seat], nodes: Mapping[str, Node], specs: Mapping[str, PodSpec]
) -> Iterator[str]:
    held: dict[str, Counter[str]] = {queue.name: Counter() for queue in scene.queues}
    grown: set[str] = set()
    for group in scene.groups:
        path = [queue.name for queue in scene.queues.path(group.queue)]
        for pod in group.pods:
            if pod.name not in staying:
                continue
            spec = specs[pod.name]
            share = spec.gpu.share_on(nodes[staying[pod.name].node].gpu_memory) or DEVICE
            for name in path:
                held[name].update({CPU: spec.cpu, MEMORY: spec.memory, GPU: spec.gpu.count * share})
            if pod.name in scene.fresh:
                grown.update(path)
    for queue in scene.queues:
        for resource, unit in ((CPU, 1), (MEMORY, 1), (GPU, DEVICE)) if queue.name in grown else ():
            limit = queue.quota(resource).limit
            if held[queue.name][resource] > limit * unit + SLACK * (resource == GPU):
                amount = held[queue.name][resource] / unit
                yield f"queue {queue.name}: holds {amount:g} {resource}, above its limit of {limit:g}"
