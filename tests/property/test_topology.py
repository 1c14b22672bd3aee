"""Required topology through the life of a group: started, grown, torn by evictions, moved."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import TopologyConstraint
from quartermaster.model.units import GIB
from quartermaster.scheduling.rules import Rules
from quartermaster.testing.crowds import LEVELS, TOPOLOGY, World

ONE = PodSpec(gpu=GpuRequest(count=1))


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    """Nodes of one to four GPUs in two zones of racks; some lack a label, so are in no domain of it."""
    found = []
    for index in range(draw(st.integers(1, 8))):
        labels = {"zone": draw(st.sampled_from("ab")), "rack": draw(st.sampled_from("12")), "host": f"n{index}"}
        if draw(st.sampled_from((False, False, False, True))):
            del labels[draw(st.sampled_from(LEVELS))]
        gpus = draw(st.integers(1, 4))
        found.append(
            Node(name=f"n{index}", cpu=8000, memory=GIB, gpus=gpus, gpu_model="A", gpu_memory=8 * GIB, labels=labels)
        )
    return found


@st.composite
def constraints(draw: st.DrawFn) -> TopologyConstraint | None:
    required = draw(st.sampled_from(("", *LEVELS)))
    finer = LEVELS[LEVELS.index(required) :] if required else LEVELS
    preferred = draw(st.sampled_from(("", *finer)))
    if not required and not preferred:
        return None
    return TopologyConstraint(topology=TOPOLOGY.name, required=required, preferred=preferred)


@st.composite
def trees(draw: st.DrawFn, name: str, depth: int = 2) -> SubGroup:
    if not depth or draw(st.booleans()):
        size = draw(st.integers(1, 4))
        pods = tuple(Pod(f"{name}/{index}", ONE) for index in range(size))
        return SubGroup(name=name, pods=pods, min=draw(st.integers(1, size)), topology=draw(constraints()))
    children = tuple(draw(trees(f"{name}-{index}", depth - 1)) for index in range(draw(st.integers(1, 3))))
    return SubGroup(name=name, children=children, min=draw(st.integers(1, len(children))), topology=draw(constraints()))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    groups = [
        PodGroup(name=f"g{number}", queue="default", root=draw(trees(f"g{number}")), priority=draw(st.integers(1, 3)))
        for number in range(draw(st.integers(1, 4)))
    ]
    return World(nodes=draw(clusters()), queues=QueueTree.single(), groups=groups, rules=Rules())


def parts(part: SubGroup) -> Iterator[SubGroup]:
    yield part
    for child in part.children:
        yield from parts(child)


def domains(world: World, part: SubGroup, level: str) -> list[tuple[str | None, ...]]:
    """The domains that a part's pods are in; a node that lacks a label is in none (None in the tuple)."""
    upper = LEVELS[: LEVELS.index(level) + 1]
    found = set()
    for leaf in part.leaves():
        for pod in leaf.pods:
            at = world.state.pods.get(pod.name)
            if at is not None:
                found.add(tuple(world.nodes[at.row].labels.get(label) for label in upper))
    return sorted(found, key=str)


def assert_in_one_domain(world: World) -> None:
    for group in world.groups:
        for part in parts(group.root):
            if part.topology is not None and part.topology.required:
                found = domains(world, part, part.topology.required)
                assert len(found) <= 1, (part.name, found)
                assert all(label is not None for domain in found for label in domain), (part.name, found)


@given(worlds(), st.data())
def test_required_topology_is_never_broken(world: World, data: st.DataObject) -> None:
    for _ in range(4):
        world.apply(world.decide())
        assert_in_one_domain(world)
        there = sorted(world.state.pods)
        for pod in data.draw(st.lists(st.sampled_from(there), unique=True, max_size=3)) if there else []:
            world.state.forget(pod)  # A pod fails; its successor has to join the others.
