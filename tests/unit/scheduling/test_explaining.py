"""What people read when a pod waits: counts per reason, the numbers, and the nearest nodes."""

import numpy as np

from quartermaster.cluster.state import ClusterState
from quartermaster.model.labels import AffinityTerm, LabelSelector, Taint
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.units import DEVICE, GIB
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Explanation
from quartermaster.scheduling.policies.simple import BinPack

NODES = [
    Node(name="a", cpu=8000, memory=64 * GIB, gpus=4, gpu_model="H100", gpu_memory=80 * GIB),
    Node(name="b", cpu=64000, memory=64 * GIB, gpus=8, gpu_model="A100", gpu_memory=40 * GIB),
    Node(name="c", cpu=64000, memory=64 * GIB),
    Node(name="d", cpu=64000, memory=64 * GIB, gpus=8, gpu_model="H100", taints=(Taint(key="reserved"),)),
    Node(name="e", cpu=64000, memory=64 * GIB, gpus=8, gpu_model="H100", schedulable=False),
]


def why(spec: PodSpec, size: int = 1) -> Explanation:
    group = PodGroup.gang("g", queue="default", spec=spec, size=size)
    policies = Policies(placement=BinPack())
    plan = cycle(ClusterState(NODES).borrow(), policies, groups=[group], now=0.0, rng=np.random.default_rng(1))
    (verdict,) = plan.unschedulable
    assert verdict.group == "g"
    return verdict.explanation


def test_every_node_is_counted_for_every_reason() -> None:
    found = why(PodSpec(cpu=16000, gpu=GpuRequest(count=8, models=frozenset({"H100"}))))
    assert dict(found.reasons) == {
        "GPU model": 2,
        "insufficient GPUs": 1,
        "insufficient cpu": 1,
        "no GPU": 1,
        "node is unschedulable": 1,
        "untolerated taint": 1,
    }
    assert found.nodes == 5


def test_the_sentence_has_numbers_and_near_misses() -> None:
    assert str(why(PodSpec(cpu=16000, gpu=GpuRequest(count=4, models=frozenset({"H100"}))))) == (
        "no node fits: GPU model on 2, insufficient cpu on 1, no GPU on 1, node is unschedulable on 1, "
        "untolerated taint on 1 (of 5 nodes); asks 16 cores, the most free on one of those is 8 cores; "
        "nearest: a lacks 8 cores"
    )


def test_a_gang_says_how_many_of_it_would_fit() -> None:
    found = why(PodSpec(gpu=GpuRequest(count=4)), size=5)
    assert (found.wanted, found.fitted) == (5, 3)
    assert str(found).startswith("3 of 5 pods fit: ")


def test_memory_that_no_gpu_has() -> None:
    assert dict(why(PodSpec(gpu=GpuRequest(count=1, memory=90 * GIB))).reasons)["GPU memory"] == 4


def test_shares_are_told_in_gpus() -> None:
    spec = PodSpec(cpu=128000, gpu=GpuRequest(count=1, share=DEVICE // 2))
    assert "asks 128 cores, the most free on one of those is 64 cores" in str(why(spec))


def test_affinity_between_pods_is_counted_by_node() -> None:
    company = AffinityTerm(selector=LabelSelector.of({"app": "db"}), topology_key="zone", namespaces=frozenset({""}))
    state = ClusterState(
        Node(name=f"n{i}", cpu=1000, memory=GIB, labels={"zone": "east" if i else "west"}) for i in range(3)
    )
    group = PodGroup.of(Pod("p", PodSpec(cpu=100, affinity=(company,))), queue="default")
    plan = cycle(state.borrow(), Policies(placement=BinPack()), groups=[group], now=0.0, rng=np.random.default_rng(1))
    assert plan.unschedulable[0].explanation.reasons == (("pod affinity", 3),)
    state.assume("db", PodSpec(labels=(("app", "db"),)), "n1")
    plan = cycle(state.borrow(), Policies(placement=BinPack()), groups=[group], now=0.0, rng=np.random.default_rng(1))
    assert [bind.node for bind in plan.binds] == ["n1"]
