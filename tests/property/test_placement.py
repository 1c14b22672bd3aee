"""The invariants of placement (docs/architecture.md): checked from the outside, on what a plan says."""

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.cluster.shapes import selected, tolerated
from quartermaster.cluster.state import ClusterState
from quartermaster.cluster.statement import Statement
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.placing import Placer
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.base import PlacementPolicy
from quartermaster.testing.clusters import groups, nodes, policies, specs


def decide(state: ClusterState, waiting: list[PodGroup], policy: PlacementPolicy, seed: int = 1) -> Plan:
    rng = np.random.default_rng(seed)
    return cycle(state.borrow(), Policies(placement=policy), groups=waiting, now=0.0, rng=rng)


def pods_of(waiting: list[PodGroup]) -> dict[str, PodSpec]:
    return {pod.name: pod.spec for group in waiting for pod in group.pods}


@given(nodes(), groups(), policies())
def test_nothing_is_overcommitted(cluster: list[Node], waiting: list[PodGroup], policy: PlacementPolicy) -> None:
    state = ClusterState(cluster)
    by_name = {node.name: node for node in cluster}
    wanted = pods_of(waiting)
    used: dict[str, Counter[str]] = defaultdict(Counter)
    shares: dict[tuple[str, int], int] = Counter()
    ports: set[tuple[str, tuple[str, int]]] = set()
    for bind in decide(state, waiting, policy).binds:
        node, spec = by_name[bind.node], wanted[bind.pod]
        use = used[node.name]
        use.update({"cpu": spec.cpu, "memory": spec.memory, "pods": 1, **dict(spec.extended)})
        have = {"cpu": node.cpu, "memory": node.memory, "pods": node.pods, **node.extended}
        assert all(amount <= have.get(name, 0) for name, amount in use.items())
        assert len(bind.devices) == spec.gpu.count
        for device in bind.devices:
            share = spec.gpu.share_on(node.gpu_memory)
            assert share is not None
            shares[node.name, device] += share
            assert device < node.gpus
            assert shares[node.name, device] <= DEVICE
        assert not spec.gpu.count or not spec.gpu.models or node.gpu_model in spec.gpu.models
        assert node.schedulable
        assert tolerated(spec, node.taints)
        assert selected(spec, node.labels)
        for port in spec.host_ports:
            assert (node.name, port) not in ports
            ports.add((node.name, port))


@given(nodes(), groups(), policies())
def test_anti_affinity_holds_for_every_pair(
    cluster: list[Node], waiting: list[PodGroup], policy: PlacementPolicy
) -> None:
    state = ClusterState(cluster)
    wanted = pods_of(waiting)
    binds = list(decide(state, waiting, policy).binds)
    labels = {node.name: node.labels for node in cluster}
    for one in binds:
        for term in wanted[one.pod].anti_affinity:
            domain = labels[one.node][term.topology_key]
            for other in binds:
                spec = wanted[other.pod]
                together = labels[other.node][term.topology_key] == domain and other.pod != one.pod
                assert not (together and term.matches(namespace=spec.namespace, labels=spec.label_map))


def satisfied(part: SubGroup, placed: set[str]) -> bool:
    if part.children:
        return sum(satisfied(child, placed) for child in part.children) >= part.minimum
    return sum(pod.name in placed for pod in part.pods) >= part.minimum


@given(nodes(), groups(), policies())
def test_gangs_start_at_their_minimum_or_not_at_all(
    cluster: list[Node], waiting: list[PodGroup], policy: PlacementPolicy
) -> None:
    plan = decide(ClusterState(cluster), waiting, policy)
    placed = {bind.pod for bind in plan.binds}
    refused = {verdict.group for verdict in plan.unschedulable}
    for group in waiting:
        has = {pod.name for pod in group.pods} & placed
        if has:
            assert satisfied(group.root, placed)
        elif any(True for _ in group.pods) and not satisfied(group.root, placed):
            assert group.name in refused


@given(nodes(), groups(), policies(), st.integers(0, 5))
def test_same_input_same_plan_and_no_trace(
    cluster: list[Node], waiting: list[PodGroup], policy: PlacementPolicy, seed: int
) -> None:
    state = ClusterState(cluster)
    decide(state, waiting, policy, seed)  # warm: shapes are known, heaps exist
    before = state.to_bytes()
    first = decide(state, waiting, policy, seed)
    assert state.to_bytes() == before
    second = decide(state, waiting, policy, seed)
    cold = decide(ClusterState(cluster), waiting, policy, seed)
    assert list(first.binds) == list(second.binds) == list(cold.binds)
    assert first.unschedulable == second.unschedulable == cold.unschedulable


@given(nodes(), specs(), st.integers(1, 12), specs(plain=True), policies())
def test_a_run_is_placed_as_its_pods_one_by_one(
    cluster: list[Node], spec: PodSpec, size: int, other: PodSpec, policy: PlacementPolicy
) -> None:
    def place(chunks: list[int]) -> tuple[list[tuple[str, int, int]], bytes]:
        state = ClusterState(cluster)
        shape, crowd = state.shape(spec), state.shape(other)
        snapshot = state.borrow()
        with Statement(snapshot) as statement:
            placer = Placer(statement, policy=policy, rng=np.random.default_rng(1))
            placer.place(["crowd-0", "crowd-1"], crowd, state.account("q"))
            names = [f"p{index}" for index in range(size)]
            start = 0
            for chunk in chunks:
                placer.place(names[start : start + chunk], shape, state.account("q"))
                start += chunk
            placed = placer.placed
            return list(zip(placed.pods, placed.rows, placed.masks, strict=True)), state.to_bytes()

    together, one_by_one = place([size]), place([1] * size)
    assert sorted(together[0][:2]) == sorted(one_by_one[0][:2])  # the crowd
    assert Counter(entry[1:] for entry in together[0]) == Counter(entry[1:] for entry in one_by_one[0])


@given(nodes(), groups(), policies(), st.data())
def test_deltas_undo_each_other(
    cluster: list[Node], waiting: list[PodGroup], policy: PlacementPolicy, data: st.DataObject
) -> None:
    state = ClusterState(cluster)
    plan = decide(state, waiting, policy)
    empty = state.to_bytes()
    plan.apply(state)
    full = state.to_bytes()
    snapshot = state.snapshot()
    gone = data.draw(st.lists(st.sampled_from(sorted(state.pods)), unique=True) if state.pods else st.just([]))
    with Statement(state.borrow()) as statement:
        for pod in gone:
            statement.evict(pod)
        mark = statement.checkpoint()
        middle = state.to_bytes()
        for pod in sorted(set(state.pods)):
            statement.evict(pod)
        statement.rollback(mark)
        assert state.to_bytes() == middle
    assert state.to_bytes() == full
    assert snapshot.state.to_bytes() == full
    for pod in data.draw(st.permutations(sorted(state.pods))):
        state.forget(pod)
    assert state.to_bytes() == empty
    assert snapshot.state.to_bytes() == full


@given(nodes(max_size=4), st.lists(specs(plain=True), max_size=6), policies())
def test_nodes_come_and_go(cluster: list[Node], wanted: list[PodSpec], policy: PlacementPolicy) -> None:
    waiting = [PodGroup.of(Pod(f"p{i}", spec), queue="default") for i, spec in enumerate(wanted)]
    state = ClusterState(cluster)
    decide(state, waiting, policy).apply(state)
    gone = cluster[0]
    lost = state.remove_node(gone.name)
    assert not any(assignment.row == 0 for assignment in state.pods.values())
    assert set(lost).isdisjoint(state.pods)
    state.add_nodes([gone])
    assert state.rows[gone.name] == 0
    again = [PodGroup.of(Pod(f"r{i}", PodSpec(gpu=GpuRequest(count=1))), queue="default") for i in range(3)]
    decide(state, again, policy).apply(state)
    for row, free in enumerate(state.gpu_free.tolist()):
        assert all(0 <= share <= DEVICE for share in free), row
