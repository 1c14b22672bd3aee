"""Who goes first among equals, what is said of it, and gangs that are cut into segments."""

from __future__ import annotations

import numpy as np

from quartermaster.cluster.state import ClusterState
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import QueueTree
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.simple import BinPack
from quartermaster.scheduling.rules import Rules, VictimOrder

ONE = PodSpec(cpu=1000, gpu=GpuRequest(count=1))
RACKS = Topology(name="fabric", levels=(Level(label="rack"),))


def job(name: str, *, created: float, started: float, checkpointed: float | None = None) -> PodGroup:
    root = SubGroup(pods=(Pod(name, ONE),))
    return PodGroup(name=name, queue="default", root=root, created=created, started=started, checkpointed=checkpointed)


def preempting(running: list[tuple[PodGroup, str]], *, rules: Rules, prices: dict[str, float]) -> Plan:
    models = ("A", "B")
    state = ClusterState(
        Node(name=f"n{i}", cpu=8000, memory=0, gpus=1, gpu_model=models[i], gpu_memory=1) for i in range(2)
    )
    for group, node in running:
        state.assume(group.name, ONE, node, [0], queue="default")
    urgent = PodGroup.of(Pod("urgent", ONE), queue="default", created=100.0, priority=90)
    return cycle(
        state.borrow(),
        Policies(placement=BinPack(), queues=QueueTree.single(), rules=rules, prices=prices),
        groups=[urgent],
        running=[group for group, _ in running],
        now=1000.0,
        rng=np.random.default_rng(1),
    )


def test_who_loses_least_work_goes_first() -> None:
    saved = job("saved", created=0.0, started=0.0, checkpointed=990.0)
    unsaved = job("unsaved", created=50.0, started=500.0)
    plan = preempting([(saved, "n0"), (unsaved, "n1")], rules=Rules(), prices={})
    assert [(evict.pod, evict.lost) for evict in plan.evictions] == [("saved", 10.0)]


def test_the_youngest_goes_first_where_that_is_the_rule() -> None:
    saved = job("saved", created=0.0, started=0.0, checkpointed=990.0)
    unsaved = job("unsaved", created=50.0, started=500.0)
    rules = Rules(victim_order=VictimOrder.YOUNGEST)
    plan = preempting([(saved, "n0"), (unsaved, "n1")], rules=rules, prices={})
    assert [evict.pod for evict in plan.evictions] == ["unsaved"]


def test_work_on_dear_devices_is_worth_more() -> None:
    dear = job("dear", created=0.0, started=900.0)
    cheap = job("cheap", created=0.0, started=700.0)
    plan = preempting([(dear, "n0"), (cheap, "n1")], rules=Rules(), prices={"A": 4.0, "B": 1.0})
    assert [(evict.pod, evict.lost) for evict in plan.evictions] == [("cheap", 300.0)]


def segments(*, size: int, racks: int, per_rack: int) -> Plan:
    state = ClusterState(
        Node(name=f"r{rack}-{i}", cpu=8000, memory=0, gpus=1, labels={"rack": f"r{rack}"})
        for rack in range(racks)
        for i in range(per_rack)
    )
    pods = [Pod(f"w{i}", ONE) for i in range(4)]
    topology = TopologyConstraint(topology="fabric", required="rack")
    root = SubGroup.segments("workers", pods, size=size, topology=topology)
    return cycle(
        state.borrow(),
        Policies(placement=BinPack(), queues=QueueTree.single(), topologies={"fabric": RACKS}),
        groups=[PodGroup(name="g", queue="default", root=root)],
        now=0.0,
        rng=np.random.default_rng(1),
    )


def test_every_segment_is_in_one_rack() -> None:
    at = {bind.pod: bind.node.split("-")[0] for bind in segments(size=2, racks=2, per_rack=2).binds}
    assert at["w0"] == at["w1"]
    assert at["w2"] == at["w3"]
    assert at["w0"] != at["w2"]


def test_a_segment_that_fits_no_rack_keeps_the_gang_out() -> None:
    plan = segments(size=4, racks=2, per_rack=2)
    assert list(plan.binds) == []
    assert "takes 2 of 4 pods, 2 missing" in str(plan.unschedulable[0].explanation)
