"""The invariants of fair share and quota (docs/fair-share.md), on random trees."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.units import DEVICE, GPU
from quartermaster.scheduling.fairshare import FairShare, fair_shares, unit_of
from quartermaster.scheduling.quota import QuotaGate, RefusalReason, quota_resources, to_internal
from quartermaster.testing.strategies import QUEUE_RESOURCES, amounts, capacities, queue_trees, requests

Shares = dict[str, dict[str, FairShare]]
K = st.sampled_from((0.0, 0.5, 1.0, 3.0))


def limit_of(queue: Queue, resource: str) -> float:
    return to_internal(queue.quota(resource).limit, resource)


def wants(tree: QueueTree, requested: dict[str, dict[str, int]], resource: str) -> dict[str, float]:
    """The most each queue can take, computed the obvious way."""

    def want(queue: Queue) -> float:
        children = tree.children(queue.name)
        below = sum(map(want, children)) if children else requested.get(queue.name, {}).get(resource, 0)
        return min(below, limit_of(queue, resource))

    return {queue.name: want(queue) for queue in tree}


def levels(tree: QueueTree, shares: Shares, capacity: dict[str, int]) -> list[tuple[str, float, list[Queue]]]:
    """(resource, what there is, who shares it) of every division."""
    tops = [(resource, float(capacity.get(resource, 0)), tree.children(None)) for resource in quota_resources(tree)]
    below = [
        (resource, shares[queue.name][resource].share, tree.children(queue.name))
        for queue in tree
        for resource in quota_resources(tree)
        if not tree.is_leaf(queue.name)
    ]
    return tops + below


@given(st.data(), queue_trees(), capacities(), K)
def test_shares_add_up_to_what_is_there_and_can_be_taken(
    data: st.DataObject, tree: QueueTree, capacity: dict[str, int], k: float
) -> None:
    requested = data.draw(requests(tree))
    shares = fair_shares(tree, capacity=capacity, requested=requested, k=k)
    for resource, there, siblings in levels(tree, shares, capacity):
        want = wants(tree, requested, resource)
        total = sum(shares[queue.name][resource].share for queue in siblings)
        assert total <= there
        without_surplus = sum(
            min(to_internal(queue.quota(resource).deserved, resource), want[queue.name])
            for queue in siblings
            if not queue.quota(resource).over_quota_weight
        )
        weighty = sum(want[queue.name] for queue in siblings if queue.quota(resource).over_quota_weight)
        assert total == min(there, without_surplus + weighty), "nothing is left that somebody may take"


@given(st.data(), queue_trees(), capacities(), K)
def test_no_share_is_above_limit_or_request(
    data: st.DataObject, tree: QueueTree, capacity: dict[str, int], k: float
) -> None:
    requested = data.draw(requests(tree))
    shares = fair_shares(tree, capacity=capacity, requested=requested, k=k)
    for resource in quota_resources(tree):
        want = wants(tree, requested, resource)
        for queue in tree:
            got = shares[queue.name][resource]
            assert 0 <= got.share <= want[queue.name]
            assert got.share == int(got.share)
            assert got.deserved == to_internal(queue.quota(resource).deserved, resource)
            assert got.allocatable == min(limit_of(queue, resource), max(got.deserved, got.share))


@given(st.data(), queue_trees(), capacities(), K)
def test_what_is_deserved_is_honoured_when_it_fits(
    data: st.DataObject, tree: QueueTree, capacity: dict[str, int], k: float
) -> None:
    requested = data.draw(requests(tree))
    shares = fair_shares(tree, capacity=capacity, requested=requested, k=k)
    for resource, there, siblings in levels(tree, shares, capacity):
        want = wants(tree, requested, resource)
        entitled = {q.name: min(to_internal(q.quota(resource).deserved, resource), want[q.name]) for q in siblings}
        got = {queue.name: shares[queue.name][resource].share for queue in siblings}
        if sum(entitled.values()) <= there:
            assert all(got[name] >= entitled[name] for name in got)
        else:
            assert all(got[name] <= entitled[name] for name in got), "no surplus while a guarantee is broken"
            assert sum(got.values()) == there
            for upper in siblings:
                for lower in siblings:
                    if upper.priority > lower.priority and got[lower.name]:
                        assert got[upper.name] == entitled[upper.name], "the lower class pays first"


@given(st.data(), queue_trees(), capacities(), st.sampled_from((1.5, 2.0, 10.0)))
def test_more_weight_never_means_less(
    data: st.DataObject, tree: QueueTree, capacity: dict[str, int], factor: float
) -> None:
    requested = data.draw(requests(tree))
    chosen = data.draw(st.sampled_from(list(tree)))
    quotas = {r: chosen.quota(r) for r in QUEUE_RESOURCES}
    heavier = replace(
        chosen, quotas={r: replace(q, over_quota_weight=q.over_quota_weight * factor) for r, q in quotas.items()}
    )
    before = fair_shares(
        QueueTree([replace(q, quotas=quotas) if q is chosen else q for q in tree]),
        capacity=capacity,
        requested=requested,
        k=0.0,
    )
    after = fair_shares(
        QueueTree([heavier if q is chosen else q for q in tree]), capacity=capacity, requested=requested, k=0.0
    )
    for resource in QUEUE_RESOURCES:
        assert after[chosen.name][resource].share >= before[chosen.name][resource].share


@given(
    st.lists(st.tuples(st.sampled_from((0.1, 0.3, 1, 2, 7)), st.integers(0, 9 * DEVICE)), min_size=1, max_size=8),
    st.integers(0, 20 * DEVICE),
)
def test_shares_are_within_a_unit_of_the_exact_division(queues: list[tuple[float, int]], there: int) -> None:
    tree = QueueTree([Queue(name=f"{i}", quotas={GPU: Quota(over_quota_weight=w)}) for i, (w, _) in enumerate(queues)])
    requested = {f"{i}": {GPU: want} for i, (_, want) in enumerate(queues)}
    shares = fair_shares(tree, capacity={GPU: there}, requested=requested, k=0.0)

    low, high = 0.0, 1e9 * DEVICE
    for _ in range(200):  # the water level at which everyone has min(want, level * weight)
        level = (low + high) / 2
        full = sum(min(want, level * weight) for weight, want in queues)
        low, high = (level, high) if full < there else (low, level)
    for index, (weight, want) in enumerate(queues):
        assert abs(shares[f"{index}"][GPU].share - min(want, high * weight)) <= unit_of(GPU) + 1


@given(st.data(), queue_trees(), capacities(), K)
def test_neither_order_nor_repetition_matters(
    data: st.DataObject, tree: QueueTree, capacity: dict[str, int], k: float
) -> None:
    requested = data.draw(requests(tree))
    shuffled = QueueTree(data.draw(st.permutations(list(tree))))
    other = dict(data.draw(st.permutations(list(requested.items()))))
    first = fair_shares(tree, capacity=capacity, requested=requested, k=k)
    assert first == fair_shares(tree, capacity=capacity, requested=requested, k=k)
    assert first == fair_shares(shuffled, capacity=capacity, requested=other, k=k)


@given(st.data(), queue_trees())
def test_bounds_hold_at_every_ancestor_and_removal_restores(data: st.DataObject, tree: QueueTree) -> None:
    gate = QuotaGate(tree, ClusterState())
    leaves = [queue.name for queue in tree if tree.is_leaf(queue.name)]
    charged: list[tuple[str, dict[str, int], bool]] = []

    def books() -> dict[str, tuple[dict[str, int], dict[str, int]]]:
        return {q.name: (dict(gate.used(q.name)), dict(gate.non_preemptible(q.name))) for q in tree}

    for _ in range(data.draw(st.integers(0, 15))):
        drop: bool = data.draw(st.booleans())
        if drop and charged:
            leaf, pod, preemptible = charged.pop(data.draw(st.integers(0, len(charged) - 1)))
            gate.remove(leaf, pod, preemptible=preemptible)
        leaf, pod, preemptible = data.draw(st.tuples(st.sampled_from(leaves), amounts(max_steps=5), st.booleans()))
        before = books()
        refusal = gate.gate(leaf, pod, preemptible=preemptible)
        assert books() == before
        gate.add(leaf, pod, preemptible=preemptible)
        if refusal:
            over = gate.used(refusal.queue)
            if refusal.reason is RefusalReason.NON_PREEMPTIBLE_OVER_QUOTA:
                over = gate.non_preemptible(refusal.queue)
            assert over[refusal.resource] == refusal.used + refusal.requested > refusal.bound
            gate.remove(leaf, pod, preemptible=preemptible)
            assert books() == before
        else:
            charged.append((leaf, pod, preemptible))
        for queue in tree:
            below = [(p, firm) for name, p, firm in charged if queue in tree.path(name)]
            for resource in quota_resources(tree):
                used = sum(p.get(resource, 0) for p, _ in below)
                firm = sum(p.get(resource, 0) for p, preemptible in below if not preemptible)
                assert gate.used(queue.name).get(resource, 0) == used <= limit_of(queue, resource)
                assert gate.non_preemptible(queue.name).get(resource, 0) == firm
                assert firm <= to_internal(queue.quota(resource).deserved, resource)
    for leaf, pod, preemptible in charged:
        gate.remove(leaf, pod, preemptible=preemptible)
    assert all(book == ({}, {}) for book in books().values())


@given(queue_trees(), capacities())
def test_asking_for_everything_is_finite(tree: QueueTree, capacity: dict[str, int]) -> None:
    leaves = [queue.name for queue in tree if tree.is_leaf(queue.name)]
    shares = fair_shares(tree, capacity=capacity, requested={leaf: dict(capacity) for leaf in leaves})
    assert all(math.isfinite(share.share) for of_queue in shares.values() for share in of_queue.values())
