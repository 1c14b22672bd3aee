"""NUMA zones seen from a cycle: who is refused, where the others go, and what is said."""

import numpy as np
import pytest

from quartermaster.cluster.inside import DEVICE_BITS, held_in, zones_of
from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.locality import Locality, TopologyPolicy, TopologyScope, Zone
from quartermaster.model.node import Node
from quartermaster.model.pod import Container, GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import GIB
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan, devices_of
from quartermaster.scheduling.policies.simple import BinPack, FirstFit

SINGLE, RESTRICTED, BEST_EFFORT, NONE = (
    TopologyPolicy.SINGLE_NUMA_NODE,
    TopologyPolicy.RESTRICTED,
    TopologyPolicy.BEST_EFFORT,
    TopologyPolicy.NONE,
)


def node(name: str = "n", *, policy: TopologyPolicy = SINGLE, cores: int = 16, gpus: int = 8, **more: object) -> Node:
    """Two zones that halve a node; `cores` and `gpus` are of both together."""
    half = gpus // 2
    zones = (
        Zone(id="0", allocatable=(("cpu", cores * 500),), gpus=tuple(range(half))),
        Zone(id="1", allocatable=(("cpu", cores * 500),), gpus=tuple(range(half, gpus))),
    )
    scope = TopologyScope.POD
    where = Locality(**{"policy": policy, "scope": scope, "pins_cpu": True, "zones": zones} | more)  # type: ignore[arg-type]
    return Node(name=name, cpu=cores * 1000, memory=64 * GIB, gpus=gpus, locality=where)


def pinned(cores: float, gpus: int = 0, *, guaranteed: bool = True) -> PodSpec:
    return PodSpec(cpu=round(cores * 1000), gpu=GpuRequest(count=gpus), guaranteed=guaranteed)


def decide(state: ClusterState, *specs: PodSpec, policy: BinPack | FirstFit | None = None) -> Plan:
    pods = [PodGroup.of(Pod(f"p{index}", spec), queue="default", created=index) for index, spec in enumerate(specs)]
    policies = Policies(placement=policy or FirstFit())
    return cycle(state.borrow(), policies, groups=pods, now=0.0, rng=np.random.default_rng(1))


def where(plan: Plan, state: ClusterState) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Per placement, in order: zones and devices."""
    found = []
    for placement in plan.placements:
        for row, word in zip(placement.rows, placement.masks, strict=True):
            locality = state.node(row).locality
            assert locality is not None
            found.append((zones_of(word, locality), devices_of(word)))
    return found


@pytest.mark.parametrize(
    ("policy", "cores", "gpus", "zones"),
    [
        # One zone has 8 cores and 4 GPUs.
        (SINGLE, 8, 4, (0,)),
        (SINGLE, 9, 1, None),
        (SINGLE, 1, 5, None),
        (RESTRICTED, 8, 4, (0,)),
        (RESTRICTED, 10, 6, (0, 1)),  # Both need two zones.
        (RESTRICTED, 2, 6, None),  # GPUs need both zones, cores only one: no common set is best for both.
        (RESTRICTED, 9, 1, None),
        (BEST_EFFORT, 2, 6, (0, 1)),
        (BEST_EFFORT, 9, 1, (0, 1)),
        (NONE, 9, 1, (0, 1)),
    ],
)
def test_the_verdict_table(policy: TopologyPolicy, cores: int, gpus: int, zones: tuple[int, ...] | None) -> None:
    state = ClusterState([node(policy=policy)])
    plan = decide(state, pinned(cores, gpus))
    assert [at for at, _ in where(plan, state)] == ([] if zones is None else [zones])


def test_a_zone_that_is_taken_no_longer_counts_for_restricted() -> None:
    """6 of 8 cores in each zone are gone: 4 would fit in two zones, but one would do were the node empty."""
    state = ClusterState([node(policy=RESTRICTED)])
    state.assume("a", pinned(6), "n", zones={0: {"cpu": 6000}})
    state.assume("b", pinned(6), "n", zones={1: {"cpu": 6000}})
    assert not list(decide(state, pinned(4)).binds)
    assert len(list(decide(state, pinned(2)).binds)) == 1


def test_cores_come_from_the_zone_of_the_gpu() -> None:
    state = ClusterState([node()])
    state.assume("other", PodSpec(gpu=GpuRequest(count=4)), "n", (0, 1, 2, 3))
    assert where(decide(state, pinned(4, 1)), state) == [((1,), (4,))]


@pytest.mark.parametrize("spec", [pinned(12, guaranteed=False), pinned(11.5), PodSpec(cpu=12_000)])
def test_cores_that_are_not_pinned_are_in_no_zone(spec: PodSpec) -> None:
    state = ClusterState([node()])
    assert where(decide(state, spec), state) == [((), ())]


def test_cores_of_a_kubelet_that_pins_none_are_in_no_zone() -> None:
    state = ClusterState([node(pins_cpu=False)])
    assert where(decide(state, pinned(12, 1)), state) == [((0,), (0,))]


def test_containers_are_aligned_each_or_together() -> None:
    part = Container(cpu=6000)
    spec = PodSpec(cpu=12_000, guaranteed=True, containers=(part, part))
    each, together = (ClusterState([node(scope=scope)]) for scope in (TopologyScope.CONTAINER, TopologyScope.POD))
    plan = decide(each, spec)
    locality = each.node(0).locality
    assert locality is not None
    assert held_in(plan.placements[0].masks[0], locality) == ((6000,), (6000,))
    assert not list(decide(together, spec).binds)


def test_whole_cores_only() -> None:
    state = ClusterState([node(threads=2)])
    plan = decide(state, pinned(3), pinned(4))
    assert [bind.pod for bind in plan.binds] == ["p1"]
    assert "CPU pinning gives whole cores only on 1" in str(plan.unschedulable[0].explanation)


def test_the_reason_names_the_kubelet_and_the_numbers() -> None:
    state = ClusterState([node(), node("m", cores=8)])
    explanation = str(decide(state, pinned(12)).unschedulable[0].explanation)
    assert explanation == (
        "no node fits: Topology Manager (single-numa-node) on 1, insufficient cpu on 1 (of 2 nodes); "
        "asks 12 cores, the most free on one of those is 8 cores; "
        "asks 12 cores, the most free in one NUMA zone is 8 cores; nearest: m lacks 4 cores"
    )


def test_a_node_that_aligns_is_better_than_a_fuller_one() -> None:
    wide, narrow = node("wide", policy=BEST_EFFORT, cores=16, gpus=2), node("narrow", policy=BEST_EFFORT, cores=40)
    state = ClusterState([wide, narrow])
    assert [bind.node for bind in decide(state, pinned(12), policy=BinPack()).binds] == ["narrow"]
    assert [bind.node for bind in decide(state, pinned(12, guaranteed=False), policy=BinPack()).binds] == ["wide"]


def test_pods_fill_zone_after_zone_and_then_wait() -> None:
    state = ClusterState([node(cores=8)])
    plan = decide(state, *[pinned(3)] * 3)
    assert [zones for zones, _ in where(plan, state)] == [(0,), (1,)]
    assert [waits.group for waits in plan.unschedulable] == ["p2"]


def test_a_gang_on_nodes_with_zones_is_placed_whole() -> None:
    state = ClusterState([node(f"n{index}") for index in range(4)])
    gang = PodGroup.gang("g", queue="default", spec=pinned(4, 2), size=16)
    policies = Policies(placement=BinPack())
    plan = cycle(state.borrow(), policies, groups=[gang], now=0.0, rng=np.random.default_rng(1))
    assert len(list(plan.binds)) == 16
    assert all(len(zones) == 1 for zones, _ in where(plan, state))


def test_a_pod_of_unknown_zones_is_taken_to_be_with_its_devices() -> None:
    state = ClusterState([node()])
    state.assume("a", pinned(4, 1), "n", (5,))
    locality = state.node(0).locality
    assert locality is not None
    assert held_in(state.pods["a"].devices, locality) == ((0,), (4000,))
    assert state.pods["a"].devices & DEVICE_BITS == 1 << 5


def test_zones_that_change_are_filled_again() -> None:
    state = ClusterState([node(gpus=4)])
    state.assume("a", pinned(4, 1), "n", (3,))
    state.update_node(node(gpus=4, cores=32, policy=RESTRICTED))
    fresh = ClusterState([node(gpus=4, cores=32, policy=RESTRICTED)])
    fresh.assume("a", pinned(4, 1), "n", (3,))
    assert state.to_bytes() == fresh.to_bytes()
    state.update_node(Node(name="n", cpu=32_000, memory=64 * GIB, gpus=4))
    assert state.forget("a").devices == 1 << 3


def test_zones_that_do_not_exist_are_refused() -> None:
    state = ClusterState([node()])
    with pytest.raises(InvalidInput, match="pod 'a': zones"):
        state.assume("a", pinned(4), "n", zones={2: {"cpu": 4000}})
