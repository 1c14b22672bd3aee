"""A situation that is written down and read again is the same situation, and is decided on in the same way."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.cluster.state import ClusterState
from quartermaster.documents.snapshot import read
from quartermaster.documents.writing import dump
from quartermaster.model.disruption import DisruptionBudget
from quartermaster.model.labels import LabelSelector
from quartermaster.model.node import Node
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.model.reservation import Reservation, Seat
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.model.units import DEVICE
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.simple import BinPack
from quartermaster.scheduling.rules import KAI_RULES, QueueOrder, Rules
from quartermaster.testing import clusters
from quartermaster.whatif.situation import Situation, places_of

QUEUES = QueueTree(
    [
        Queue(name="all", priority=7, quotas={"gpu": Quota(deserved=8, limit=12.5), "cpu": Quota(deserved=1234)}),
        Queue(name="other", parent="all", quotas={"gpu/A": Quota(limit=2, over_quota_weight=0.1)}, usage={"gpu": 0.25}),
        Queue(name="default", parent="all", created=3.5, reclaim_min_runtime=60.0),
    ]
)
TOPOLOGY = Topology(name="net", levels=(Level(label="zone", alias="z", hard=True), Level(label="host")))
TIMES = st.one_of(st.none(), st.integers(0, 10**9).map(lambda ms: ms / 1000))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Small clusters on which one cycle was carried out, some pods leaving, with histories of all kinds."""
    nodes = draw(clusters.nodes(max_size=4))
    groups = draw(clusters.groups(max_size=4))
    state = ClusterState(nodes)
    plan = cycle(state.borrow(), Policies(placement=BinPack()), groups=groups, now=0.0, rng=np.random.default_rng(1))
    plan.apply(state)
    for pod in list(state.pods):
        if draw(st.sampled_from((False, False, True))):
            state.leave(pod, frees=draw(st.booleans()))
    queues = draw(st.sampled_from((QUEUES, QueueTree.single())))
    asked = st.sampled_from((None, TopologyConstraint(topology="net", required="z", preferred="host")))
    return Situation(
        nodes=tuple(nodes),
        queues=queues,
        topologies={"net": TOPOLOGY},
        groups=tuple(
            replace(
                group,
                root=replace(group.root, topology=draw(asked)),
                owner=draw(st.sampled_from(("", "me"))),
                preemptible=draw(st.booleans()),
                may_preempt=draw(st.booleans()),
                started=draw(TIMES),
                last_evicted=draw(TIMES),
                stale_since=draw(TIMES),
                checkpointed=draw(TIMES),
                runtime=draw(TIMES),
                max_runtime=draw(TIMES),
                requeued=draw(TIMES),
                reserved=draw(st.sampled_from((None, Reservation(7.5, (Seat(next(group.pods).name, "n0", (1, 2)),))))),
                staleness_grace=draw(st.sampled_from((None, 3.0, float("inf")))),
                preemption_delay=draw(st.sampled_from((0.0, 0.5))),
            )
            for group in groups
        ),
        places=places_of(state),
        now=draw(st.integers(0, 10**9)) / 1000,
        budgets=(
            DisruptionBudget(
                name="b", namespace="", selector=LabelSelector.of({"app": "x"}), allowed=draw(st.integers(0, 2))
            ),
        ),
        prices={"A": 2.5},
        rules=draw(
            st.sampled_from(
                (
                    Rules(),
                    KAI_RULES,
                    Rules(staleness_grace=float("inf"), history=0.5, queue_order=QueueOrder.DESERVED_FIRST),
                )
            )
        ),
    )


def labelled(node: Node) -> Node:
    """What reading adds: the name of the host."""
    return replace(node, labels={"kubernetes.io/hostname": node.name, **node.labels})


def parts_of(situation: Situation) -> dict[str, object]:
    """A situation as values that compare; a quota that is not there is the one of nothing."""
    resources = ("cpu", "memory", "gpu", "gpu/A")
    return {
        **{name: getattr(situation, name) for name in (
            "places", "now", "topologies", "budgets", "prices", "rules", "actions", "placement",
        )},
        "nodes": [labelled(node) for node in situation.nodes],
        "queues": [
            (replace(queue, quotas={}), [queue.quota(resource) for resource in resources]) for queue in situation.queues
        ],
        "groups": [replace(group, root=replace(group.root, name="")) for group in situation.groups],
    }  # fmt: skip


@given(situations(), st.sampled_from(("s.yaml", "s.json")))
def test_what_is_written_is_read(situation: Situation, name: str) -> None:
    text = dump(situation, name=name)
    again = read(text, file=name, as_json=name.endswith("json"))
    assert parts_of(again) == parts_of(situation)
    assert dump(again, name=name) == text


@given(situations())
def test_it_is_decided_on_alike(situation: Situation) -> None:
    situation = replace(situation, groups=tuple(replace(group, reserved=None) for group in situation.groups))
    again = read(dump(situation, name="s.json"), file="s.json", as_json=True)
    plans = []
    for one in (situation, again):
        plan = cycle(
            one.state().borrow(),
            Policies(
                placement=BinPack(), queues=one.queues, topologies=one.topologies, budgets=one.budgets, rules=one.rules
            ),
            groups=list(one.waiting()),
            running=list(one.running()),
            now=one.now,
            rng=np.random.default_rng(1),
        )
        plans.append(
            (list(plan.binds), list(plan.nominations), plan.evictions, [str(w.explanation) for w in plan.unschedulable])
        )
    assert plans[0] == plans[1]


def test_gz_is_by_name() -> None:
    situation = Situation(
        nodes=(Node(name="n", cpu=1, memory=DEVICE),), queues=QueueTree.single(), groups=(), places={}
    )
    assert dump(situation, name="s.yaml.gz")[:2] == b"\x1f\x8b"
