"""Costs, gates and their sentences."""

import pytest

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.units import CPU, DEVICE, GIB, GPU, MEMORY, MIB
from quartermaster.scheduling.quota import (
    QuotaGate,
    Refusal,
    RefusalReason,
    as_mapping,
    group_request,
    quota_request,
    quota_resources,
    readable,
)

H100 = "gpu/H100"


def tree() -> QueueTree:
    return QueueTree(
        [
            Queue(name="org", quotas={GPU: Quota(deserved=6, limit=10)}),
            Queue(name="team-a", parent="org", quotas={GPU: Quota(deserved=4, limit=8)}),
            Queue(name="team-b", parent="org", quotas={GPU: Quota(deserved=4)}),
            Queue(name="free"),
        ]
    )


def test_a_limit_refuses_with_its_numbers() -> None:
    gate = QuotaGate(tree(), ClusterState())
    gate.add("team-a", {GPU: 6 * DEVICE}, preemptible=True)
    refusal = gate.gate("team-a", {GPU: 4 * DEVICE}, preemptible=True)
    assert refusal == Refusal(
        reason=RefusalReason.OVER_LIMIT,
        queue="team-a",
        resource=GPU,
        used=6 * DEVICE,
        requested=4 * DEVICE,
        bound=8 * DEVICE,
    )
    assert str(refusal) == "queue 'team-a': limit of 8 gpu: 6 in use, 4 more asked"
    assert gate.gate("team-a", {GPU: 2 * DEVICE}, preemptible=True) is None
    assert gate.gate("team-b", {GPU: 4 * DEVICE}, preemptible=True) is None


def test_an_ancestor_refuses_what_siblings_used_up() -> None:
    gate = QuotaGate(tree(), ClusterState())
    gate.add("team-a", {GPU: 8 * DEVICE}, preemptible=True)
    refusal = gate.gate("team-b", {GPU: 5 * DEVICE // 2}, preemptible=True)
    assert str(refusal) == "queue 'org': limit of 10 gpu: 8 in use, 2.5 more asked"
    gate.remove("team-a", {GPU: 8 * DEVICE}, preemptible=True)
    assert gate.gate("team-b", {GPU: 5 * DEVICE // 2}, preemptible=True) is None
    assert gate.used("org") == {}


def test_non_preemptible_pods_stay_within_what_is_deserved_all_the_way_up() -> None:
    gate = QuotaGate(tree(), ClusterState())
    gate.add("team-a", {GPU: 4 * DEVICE}, preemptible=False)
    refusal = gate.gate("team-a", {GPU: DEVICE}, preemptible=False)
    assert refusal
    assert refusal.reason == "NonPreemptibleOverQuota"
    assert str(refusal) == ("queue 'team-a': non-preemptible pods may hold the 4 gpu it deserves: 4 held, 1 more asked")
    assert gate.gate("team-a", {GPU: DEVICE}, preemptible=True) is None
    above = gate.gate("team-b", {GPU: 3 * DEVICE}, preemptible=False)
    assert above
    assert (above.queue, above.used, above.bound) == ("org", 4 * DEVICE, 6 * DEVICE)
    assert gate.gate("team-b", {GPU: 2 * DEVICE}, preemptible=False) is None


def test_preemptible_use_does_not_take_from_the_guarantee() -> None:
    gate = QuotaGate(tree(), ClusterState())
    gate.add("team-a", {GPU: 4 * DEVICE}, preemptible=True)
    assert gate.gate("team-a", {GPU: 4 * DEVICE}, preemptible=False) is None
    assert gate.non_preemptible("team-a") == {}


def test_a_limit_is_named_before_a_guarantee() -> None:
    refusal = QuotaGate(tree(), ClusterState()).gate("team-b", {GPU: 11 * DEVICE}, preemptible=False)
    assert refusal
    assert (refusal.reason, refusal.queue) == (RefusalReason.OVER_LIMIT, "org")


def test_what_is_not_asked_for_never_refuses() -> None:
    gate = QuotaGate(tree(), ClusterState())
    gate.add("team-a", {GPU: 20 * DEVICE}, preemptible=True)
    assert gate.gate("team-a", {CPU: 500, GPU: 0}, preemptible=True) is None


def test_a_model_is_under_quota_once_a_queue_names_it() -> None:
    quota = {CPU: Quota(deserved=8000), GPU: Quota(deserved=8)}
    pod = {CPU: 100, GPU: DEVICE, H100: DEVICE}
    alone = QuotaGate(QueueTree([Queue(name="a", quotas=quota)]), ClusterState())
    assert alone.gate("a", pod, preemptible=False) is None
    named = Queue(name="b", quotas={H100: Quota(deserved=0.5, limit=0.5)})
    both = QuotaGate(QueueTree([Queue(name="a", quotas=quota), named]), ClusterState())
    assert str(both.gate("a", pod, preemptible=False)) == (
        "queue 'a': non-preemptible pods may hold the 0 gpu/H100 it deserves: 0 held, 1 more asked"
    )
    assert str(both.gate("b", pod, preemptible=True)) == "queue 'b': limit of 0.5 gpu/H100: 0 in use, 1 more asked"


def test_it_starts_from_what_the_state_holds() -> None:
    state = ClusterState([Node(name="n", cpu=8000, memory=GIB, gpus=2, gpu_model="H100", gpu_memory=80 * GIB)])
    spec = PodSpec(cpu=500, memory=MIB, gpu=GpuRequest(count=1))
    shape = state.shape(spec)
    state.place("p", shape, 0, 1, state.account("team-a", preemptible=False))
    state.place("q", shape, 0, 2, state.account("team-b"))
    state.assume("r", PodSpec(cpu=1), "n", queue="nobody's")
    gate = QuotaGate(tree(), state)
    pod = {CPU: 500, MEMORY: MIB, GPU: DEVICE, H100: DEVICE}
    assert gate.used("team-a") == gate.non_preemptible("org") == pod
    assert gate.used("org") == {name: 2 * amount for name, amount in pod.items()}
    gate.remove("team-b", pod, preemptible=True)
    assert gate.used("org") == pod


def test_an_unknown_queue_is_named() -> None:
    with pytest.raises(InvalidInput, match="'nobody'"):
        QuotaGate(tree(), ClusterState()).gate("nobody", {}, preemptible=True)


@pytest.mark.parametrize(
    ("amount", "resource", "text"),
    [
        (1_250_000, GPU, "1.25"),
        (1, H100, "0.000001"),
        (20 * DEVICE, GPU, "20"),
        (1500, CPU, "1.5"),
        (0, MEMORY, "0 GiB"),
        (64 * GIB, MEMORY, "64 GiB"),
        (512 * MIB, MEMORY, "512 MiB"),
        (17, MEMORY, "17 bytes"),
    ],
)
def test_people_read_units(amount: int, resource: str, text: str) -> None:
    assert readable(amount, resource) == text


def test_costs_of_pods_and_gangs() -> None:
    resources = (*quota_resources(tree()), H100)
    whole = PodSpec(cpu=500, memory=MIB, gpu=GpuRequest(count=2, models=frozenset({"H100"})))
    assert quota_request(whole, resources=resources) == (500, MIB, 2 * DEVICE, 2 * DEVICE)
    slice_ = PodSpec(gpu=GpuRequest(count=1, memory=10 * GIB))
    assert quota_request(slice_, resources=resources, gpu_memory=40 * GIB) == (0, 0, DEVICE // 4, 0)
    assert quota_request(slice_, resources=resources, gpu_memory=80 * GIB, model="H100")[-1] == DEVICE // 8
    assert quota_request(slice_, resources=resources) == (0, 0, DEVICE, 0)
    assert as_mapping((500, MIB, DEVICE // 2, 0), resources) == {CPU: 500, MEMORY: MIB, GPU: 0.5, H100: 0}


def test_a_gang_costs_its_smallest_start() -> None:
    pods = tuple(Pod(f"p{index}", PodSpec(cpu=100 + index, gpu=GpuRequest(count=1))) for index in range(4))
    root = SubGroup(children=(SubGroup(name="x", pods=pods[:3], min=2), SubGroup(name="y", pods=pods[3:])), min=1)
    cost = group_request(PodGroup(name="g", queue="team-a", root=root), resources=quota_resources(tree()))
    assert cost == (201, 0, 2 * DEVICE)
