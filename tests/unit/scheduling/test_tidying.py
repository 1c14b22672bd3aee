"""Idle cycles free whole places by small moves, and stop there."""

from __future__ import annotations

import numpy as np

from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Level, Topology
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.simple import BinPack
from quartermaster.scheduling.rules import Rules

ONE = PodSpec(cpu=1000, gpu=GpuRequest(count=1))
CLIQUES = Topology(name="fabric", levels=(Level(label="clique", hard=True),))


def cluster(*, gpus: int = 2, nodes: int = 4) -> ClusterState:
    return ClusterState(
        Node(name=f"n{i}", cpu=64_000, memory=0, gpus=gpus, labels={"clique": f"c{i // 2}"}) for i in range(nodes)
    )


def run(state: ClusterState, where: dict[str, tuple[str, int]], *, moves: int, topologies: bool = False) -> Plan:
    running = []
    for name, (node, device) in where.items():
        state.assume(name, ONE, node, [device], queue="default")
        running.append(PodGroup.of(Pod(name, ONE), queue="default"))
    policies = Policies(
        placement=BinPack(),
        queues=QueueTree.single(),
        rules=Rules(idle_moves=moves),
        topologies={"fabric": CLIQUES} if topologies else {},
    )
    return cycle(state.borrow(), policies, groups=[], running=running, now=100.0, rng=np.random.default_rng(1))


def test_a_node_is_freed_by_moving_what_runs_on_it() -> None:
    plan = run(cluster(nodes=2), {"a": ("n0", 0), "b": ("n1", 0)}, moves=4)
    assert [(evict.pod, evict.node, evict.action) for evict in plan.evictions] == [("a", "n0", "consolidate")]
    assert plan.evictions[0].reason == "moved to free node 'n0'; 0 GPU-seconds are done again"
    assert [(bind.pod, bind.node) for bind in plan.nominations] == [("a", "n1")]


def test_nothing_moves_without_leave() -> None:
    assert run(cluster(nodes=2), {"a": ("n0", 0), "b": ("n1", 0)}, moves=0).evictions == []


def test_nothing_moves_where_no_place_comes_free() -> None:
    where = {"a": ("n0", 0), "b": ("n0", 1), "c": ("n1", 0), "d": ("n1", 1), "e": ("n2", 0)}
    assert run(cluster(nodes=3), where, moves=10).evictions == []


def test_a_hard_domain_is_freed_before_single_nodes() -> None:
    where = {"a": ("n0", 0), "b": ("n1", 0), "c": ("n2", 0), "d": ("n3", 0)}
    plan = run(cluster(gpus=2), where, moves=2, topologies=True)
    assert {evict.reason for evict in plan.evictions} == {"moved to free clique 'c0'; 0 GPU-seconds are done again"}
    assert sorted((bind.pod, bind.node) for bind in plan.nominations) == [("a", "n2"), ("b", "n3")]


def test_it_comes_to_rest() -> None:
    state = cluster(nodes=4)
    where = {"a": ("n0", 0), "b": ("n1", 0), "c": ("n2", 0)}
    plan = run(state, where, moves=10)
    plan.apply(state)
    for pod in where:
        at = state.pods[pod]
        where[pod] = (state.node(at.row).name, at.devices.bit_length() - 1)
    again = run(cluster(nodes=4), where, moves=10)
    assert plan.evictions
    assert again.evictions == []
