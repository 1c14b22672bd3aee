"""Whose turn it is: sibling rules one by one, gates with their words, growth after minimums."""

import numpy as np
import pytest

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.simple import BinPack
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.turns import Turns

ONE = PodSpec(gpu=GpuRequest(count=1))


def cluster(gpus: int = 8) -> ClusterState:
    return ClusterState([Node(name="n", cpu=0, memory=0, gpus=gpus, gpu_model="H100")])


def gpu(deserved: float = 0, **rest: float) -> dict[str, Quota]:
    return {"gpu": Quota(deserved=deserved, **rest)}


def single(name: str, queue: str, created: float = 0, priority: int = 50) -> PodGroup:
    return PodGroup.of(Pod(name, ONE), queue=queue, created=created, priority=priority)


def names(turns: Turns) -> list[str]:
    found = []
    while (group := turns.pop()) is not None:
        found.append(group.name)
    return found


def decide(state: ClusterState, tree: QueueTree, groups: list[PodGroup]) -> Plan:
    policies = Policies(placement=BinPack(), queues=tree)
    return cycle(state.borrow(), policies, groups=groups, now=0.0, rng=np.random.default_rng(1))


def test_inside_a_queue_priority_then_age_then_name() -> None:
    groups = [
        single("c", "default", 2),
        single("b", "default", 1),
        single("a", "default", 1),
        single("z", "default", 9, 99),
    ]
    assert names(Turns(QueueTree.single(), groups, standing=None, presence=Presence({}, {}))) == ["z", "a", "b", "c"]


def test_queue_priority_beats_staying_within_quota() -> None:
    tree = QueueTree([Queue(name="low", quotas=gpu(4), priority=1), Queue(name="high", quotas=gpu(0), priority=200)])
    plan = decide(
        cluster(8), tree, [single(f"l{i}", "low") for i in range(8)] + [single(f"h{i}", "high") for i in range(8)]
    )
    placed = [bind.pod for bind in plan.binds]
    assert placed[0] == "h0"
    assert sum(name.startswith("l") for name in placed) == 4, "what low deserves is kept for it"


def test_equal_queues_take_turns() -> None:
    tree = QueueTree([Queue(name="a", quotas=gpu(4)), Queue(name="b", quotas=gpu(4))])
    groups = [single(f"{queue}{i}", queue) for queue in "ab" for i in range(8)]
    placed = [bind.pod for bind in decide(cluster(8), tree, groups).binds]
    assert [name[0] for name in placed] == list("abababab")


def test_weights_divide_what_nobody_deserves() -> None:
    tree = QueueTree(
        [Queue(name="a", quotas=gpu(0, over_quota_weight=3)), Queue(name="b", quotas=gpu(0, over_quota_weight=1))]
    )
    groups = [single(f"{queue}{i}", queue) for queue in "ab" for i in range(8)]
    placed = [bind.pod[0] for bind in decide(cluster(8), tree, groups).binds]
    assert placed.count("a") == 6
    assert placed.count("b") == 2


def test_a_limit_of_an_ancestor_is_named() -> None:
    tree = QueueTree([Queue(name="dept", quotas=gpu(2, limit=2)), Queue(name="team", parent="dept")])
    plan = decide(cluster(8), tree, [single(f"p{i}", "team", i) for i in range(3)])
    assert len(list(plan.binds)) == 2
    assert [(verdict.group, str(verdict.explanation)) for verdict in plan.unschedulable] == [
        ("p2", "queue 'dept': limit of 2 gpu: 2 in use, 1 more asked")
    ]


def test_non_preemptible_pods_stay_within_what_is_deserved() -> None:
    tree = QueueTree([Queue(name="team", quotas=gpu(1))])
    groups = [
        PodGroup(name=f"p{i}", queue="team", root=SubGroup(pods=(Pod(f"p{i}", ONE),)), preemptible=False)
        for i in range(2)
    ]
    plan = decide(cluster(8), tree, groups)
    assert [bind.pod for bind in plan.binds] == ["p0"]
    assert "non-preemptible pods may hold the 1 gpu it deserves" in str(plan.unschedulable[0].explanation)


def test_growth_waits_until_every_minimum_had_its_turn() -> None:
    elastic = PodGroup.gang("e", queue="default", spec=ONE, size=8, min=2)
    later = single("later", "default", created=5)
    placed = [bind.pod for bind in decide(cluster(4), QueueTree.single(), [elastic, later]).binds]
    assert placed == ["e-0", "e-1", "later", "e-2"]


def test_a_group_is_submitted_to_a_leaf() -> None:
    tree = QueueTree([Queue(name="dept"), Queue(name="team", parent="dept")])
    with pytest.raises(InvalidInput, match="queue 'dept': has queues below it; submit to one of its leaves"):
        decide(cluster(), tree, [single("p", "dept")])
    with pytest.raises(InvalidInput, match="queue 'nobody': does not exist; use one of: dept, team"):
        decide(cluster(), tree, [single("p", "nobody")])
