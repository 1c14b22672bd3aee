"""NUMA zones: the prediction against the kubelet's own enumeration, and what has to hold of the amounts in them."""

from itertools import combinations, product

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from quartermaster.cluster.inside import DEVICE_BITS, Inside, bits, empty, held_in, less, pack
from quartermaster.cluster.numa import Demand, Verdict, draw, units, verdict
from quartermaster.cluster.shapes import Shape
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.locality import Link, Locality, TopologyPolicy, Zone
from quartermaster.model.node import Node
from quartermaster.model.pod import PodSpec
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.connected import best_set
from quartermaster.scheduling.placing import Placer
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.scheduling.seating import seat
from quartermaster.testing.clusters import localities, nodes, policies, specs

Hint = tuple[frozenset[int] | None, bool]
"""Zones (None: any) and whether preferred, as the kubelet's managers give them."""


# ---- the kubelet, step by step


def subsets(zones: int) -> list[frozenset[int]]:
    return [frozenset(some) for size in range(1, zones + 1) for some in combinations(range(zones), size)]


def hints_of(demand: Demand) -> list[Hint]:
    zones = len(demand.total)
    width, found = zones, []
    for mask in subsets(zones):
        if sum(demand.total[zone] for zone in mask) >= demand.asked:
            width = min(width, len(mask))
        if sum(demand.free[zone] for zone in mask) >= demand.asked:
            found.append(mask)
    return [(mask, len(mask) == width) for mask in found] or [(None, False)]


def number(mask: frozenset[int]) -> int:
    return sum(1 << zone for zone in mask)


def narrower(one: frozenset[int], other: frozenset[int]) -> bool:
    return (len(one), number(one)) < (len(other), number(other))


def better(now: tuple[frozenset[int], bool], new: tuple[frozenset[int], bool], best: int) -> bool:
    """Whether `new` replaces `now`: the cases of the kubelet's comparison, in its order."""
    if now[1] != new[1]:
        return new[1]
    if now[1] or len(now[0]) > best:
        return narrower(new[0], now[0])
    if len(now[0]) == best:
        return len(new[0]) == best and narrower(new[0], now[0])
    if len(new[0]) > best:
        return False
    if len(new[0]) != len(now[0]):
        return len(new[0]) > len(now[0])
    return narrower(new[0], now[0])


def kubelet(policy: TopologyPolicy, demands: list[Demand], zones: int) -> Verdict:
    everywhere = frozenset(range(zones))
    hints = [hints_of(demand) for demand in demands]
    if policy is TopologyPolicy.SINGLE_NUMA_NODE:
        hints = [[(mask, good) for mask, good in some if good and (mask is None or len(mask) == 1)] for some in hints]
    narrowest = [min((len(mask) for mask, _ in some if mask is not None), default=0) for some in hints]
    best: tuple[frozenset[int], bool] | None = None
    for chosen in product(*hints):
        masks = [mask for mask, _ in chosen if mask is not None]
        merged = everywhere.intersection(*masks)
        preferred = all(good for _, good in chosen) and len(set(masks)) <= 1
        if merged and (best is None or better(best, (merged, preferred), max(narrowest, default=0))):
            best = (merged, preferred)
    mask, preferred = best or (everywhere, False)
    return Verdict(preferred or policy is TopologyPolicy.BEST_EFFORT, number(mask), preferred)


@st.composite
def requests(rng: st.DrawFn) -> tuple[int, list[Demand]]:
    zones = rng(st.integers(1, 4))
    amounts = st.lists(st.integers(0, 4), min_size=zones, max_size=zones)
    found = []
    for _ in range(rng(st.integers(1, 3))):
        total = rng(amounts)
        free = [rng(st.integers(0, have)) for have in total]
        found.append(Demand(tuple(total), tuple(free), rng(st.integers(1, 9))))
    return zones, found


CROSSED = [
    Demand((3, 1, 3, 2), (2, 0, 2, 2), 4),
    Demand((0, 4, 3, 2), (0, 1, 2, 0), 2),
    Demand((1, 4, 3, 4), (0, 4, 2, 3), 9),
]
"""No set of zones is best for all, and the one chosen is wider than it need be."""


@given(requests(), st.sampled_from(sorted(set(TopologyPolicy) - {TopologyPolicy.NONE})))
@example((4, CROSSED), TopologyPolicy.BEST_EFFORT)
def test_the_verdict_is_that_of_trying_every_combination(
    request: tuple[int, list[Demand]], policy: TopologyPolicy
) -> None:
    zones, demands = request
    ours, theirs = verdict(policy, demands, zones), kubelet(policy, demands, zones)
    assert ours.admitted == theirs.admitted
    assert ours.preferred == theirs.preferred
    if ours.admitted:
        assert ours.zones == theirs.zones


@given(requests(), st.sampled_from(TopologyPolicy))
def test_whoever_is_refused_stays_refused_on_a_fuller_node(
    request: tuple[int, list[Demand]], policy: TopologyPolicy
) -> None:
    zones, demands = request
    fuller = [demand._replace(free=tuple(max(0, free - 1) for free in demand.free)) for demand in demands]
    assert verdict(policy, demands, zones).admitted or not verdict(policy, fuller, zones).admitted


# ---- amounts


@given(
    st.lists(st.lists(st.integers(0, 2**40), min_size=2, max_size=2), min_size=2, max_size=2), st.integers(0, 2**64 - 1)
)
def test_a_place_is_read_back_as_it_was_packed(held: list[list[int]], devices: int) -> None:
    zones = tuple(Zone(id=str(index), allocatable=(("a", 1), ("b", 1))) for index in range(2))
    word = pack(devices, held)
    assert word & DEVICE_BITS == devices
    assert held_in(word, Locality(zones=zones)) == tuple(map(tuple, held))


located = nodes().filter(lambda cluster: any(node.locality for node in cluster))
crowds = st.lists(st.tuples(specs(), st.integers(1, 6)), min_size=1, max_size=4)


def fill(state: ClusterState, crowd: list[tuple[PodSpec, int]], statement: Statement, policy: PlacementPolicy) -> None:
    placer = Placer(statement, policy=policy, rng=np.random.default_rng(1))
    for run, (spec, count) in enumerate(crowd):
        names = [f"p{run}-{index}" for index in range(count)]
        placer.place(names, state.shape(spec), state.account("q"))


@given(located, crowds, policies())
def test_zones_are_never_overcommitted_and_add_up(
    cluster: list[Node], crowd: list[tuple[PodSpec, int]], policy: PlacementPolicy
) -> None:
    state = ClusterState(cluster)
    for spec, _ in crowd:
        state.shape(spec)
    with Statement(state.borrow()) as statement:
        fill(state, crowd, statement, policy)
        for node in cluster:
            if node.locality is None:
                continue
            row = state.row(node.name)
            inside, left = state.classes.inside[state.class_at[row]], empty(node.locality, node.gpus).zones
            assert inside is not None
            assert inside.levels == tuple(state.gpu_free[row, : node.gpus].tolist())
            for at in state.pods.values():
                if at.row == row:
                    left = less(left, held_in(at.devices, node.locality))
                    asked = units(state.shapes[at.shape].spec, node.locality)
                    held = [sum(zone) for zone in zip(*held_in(at.devices, node.locality), strict=True)]
                    assert held == [sum(unit.amounts[index] for unit in asked) for index in range(len(held))]
            assert inside.zones == left
            assert all(amount >= 0 for zone in left for amount in zone)


@given(located, crowds, policies())
def test_a_placement_is_one_that_the_kubelet_admits(
    cluster: list[Node], crowd: list[tuple[PodSpec, int]], policy: PlacementPolicy
) -> None:
    """Pod by pod: before each, its node's own enumeration says that it is admitted there and where to."""
    state = ClusterState(cluster)
    shapes = [state.shape(spec) for spec, _ in crowd]
    with Statement(state.borrow()) as statement:
        placer = Placer(statement, policy=policy, rng=np.random.default_rng(1))
        for run, (shape, (spec, count)) in enumerate(zip(shapes, crowd, strict=True)):
            for index in range(count):
                before = [state.classes.inside[number] if number >= 0 else None for number in state.node_class.tolist()]
                if not placer.place([f"p{run}-{index}"], shape, state.account("q")):
                    break
                row = placer.placed.rows[-1]
                check_admitted(cluster[row], before[row], spec, placer.placed.masks[-1])


def check_admitted(node: Node, inside: Inside | None, spec: PodSpec, word: int) -> None:
    where = node.locality
    if where is None or inside is None:
        assert word <= DEVICE_BITS
        return
    if where.pins_cpu and where.threads > 1 and spec.guaranteed and spec.cpu % 1000 == 0:
        assert spec.cpu % (1000 * where.threads) == 0
    for unit in units(spec, where):
        demands = [
            Demand(
                tuple(dict(zone.allocatable).get(name, 0) for zone in where.zones),
                tuple(zone[index] for zone in inside.zones),
                unit.amounts[index],
            )
            for index, name in enumerate(where.aligned)
            if unit.amounts[index]
        ]
        if unit.gpus and any(zone.gpus for zone in where.zones):
            idle = tuple(sum(inside.levels[gpu] == DEVICE for gpu in zone.gpus) for zone in where.zones)
            demands.append(Demand(tuple(len(zone.gpus) for zone in where.zones), idle, unit.gpus))
        if where.policy is not TopologyPolicy.NONE and demands:
            said = kubelet(where.policy, demands, len(where.zones))
            assert said.admitted
            assert draw(unit, inside.zones, where, said.zones) == held_in(word, where)
            if said.preferred and unit.gpus:
                here = {gpu for zone in bits(said.zones) for gpu in where.zones[zone].gpus}
                assert set(bits(word & DEVICE_BITS)) <= here


@given(located, crowds, crowds, policies(), st.data())
def test_rollback_restores_zones_byte_for_byte(
    cluster: list[Node],
    crowd: list[tuple[PodSpec, int]],
    more: list[tuple[PodSpec, int]],
    policy: PlacementPolicy,
    data: st.DataObject,
) -> None:
    state = ClusterState(cluster)
    for spec, _ in (*crowd, *more):
        state.shape(spec)
    empty_bytes = state.to_bytes()
    with Statement(state.borrow()) as statement:
        fill(state, crowd, statement, policy)
        mark, before = statement.checkpoint(), state.to_bytes()
        there = sorted(state.pods)
        for pod in data.draw(st.permutations(there))[: len(there) // 2 + 1]:
            statement.evict(pod)
        placer = Placer(statement, policy=policy, rng=np.random.default_rng(2))
        for run, (spec, count) in enumerate(more):
            placer.place([f"m{run}-{index}" for index in range(count)], state.shape(spec), state.account("q"))
        statement.rollback(mark)
        assert state.to_bytes() == before
        for pod in sorted(state.pods):
            statement.evict(pod)
        assert state.to_bytes() == empty_bytes
    assert state.to_bytes() == empty_bytes


@given(located, crowds, policies())
def test_what_is_known_of_a_class_is_what_its_nodes_are_like(
    cluster: list[Node], crowd: list[tuple[PodSpec, int]], policy: PlacementPolicy
) -> None:
    """A pod gets the same place in a node whether its pods came one after another or are told at once."""
    state = ClusterState(cluster)
    shapes: list[Shape] = [state.shape(spec) for spec, _ in crowd]
    with Statement(state.borrow()) as statement:
        fill(state, crowd, statement, policy)
        told = ClusterState(cluster)
        for pod, at in state.pods.items():
            node = state.node(at.row)
            zones = None
            if node.locality is not None:
                held = held_in(at.devices, node.locality)
                zones = {n: dict(zip(node.locality.aligned, row, strict=True)) for n, row in enumerate(held)}
            spec = state.shapes[at.shape].spec
            told.assume(pod, spec, node.name, tuple(bits(at.devices & DEVICE_BITS)), queue="q", zones=zones)
        for node in cluster:
            if node.locality is not None:
                ours, theirs = (one.class_at[one.row(node.name)] for one in (state, told))
                assert state.classes.inside[ours] == told.classes.inside[theirs]
                for shape in shapes:
                    mirrored = told.shape(shape.spec)
                    assert seat(state, ours, shape) == seat(told, theirs, mirrored)


# ---- devices


@given(localities(cpu=8000, gpus=6), st.integers(0, 63), st.integers(0, 63), st.integers(1, 6))
def test_the_best_set_has_no_better_joined_rival(where: Locality, idle: int, near: int, count: int) -> None:
    chosen = best_set(where, idle, near, count)
    assert chosen & ~idle == 0
    assert chosen.bit_count() == min(count, idle.bit_count())
    close = idle & near
    if close.bit_count() >= count:
        assert chosen & ~near == 0

        def worst(devices: tuple[int, ...]) -> Link:
            return max((where.link(a, b) for a, b in combinations(devices, 2)), default=Link.NVLINK)

        assert worst(tuple(bits(chosen))) == min(worst(some) for some in combinations(tuple(bits(close)), count))
    else:
        assert close & ~chosen == 0
