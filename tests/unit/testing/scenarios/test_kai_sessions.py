"""What our cycle is asked for a recorded case, and what becomes of its answers over rounds."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from quartermaster.cluster.snapshot import Snapshot
from quartermaster.model.node import UNBOUNDED
from quartermaster.model.pod import GpuRequest
from quartermaster.model.podgroup import PodGroup
from quartermaster.model.queue import UNLIMITED
from quartermaster.model.units import DEVICE, MIB
from quartermaster.scheduling.cycle import Policies
from quartermaster.scheduling.plan import Evict, GroupPlacement, Plan
from quartermaster.scheduling.policies.kai import KaiScore
from quartermaster.scheduling.rules import Action
from quartermaster.testing.scenarios.kai.case import Case, Status, read
from quartermaster.testing.scenarios.kai.judging import judge
from quartermaster.testing.scenarios.kai.rounds import play
from quartermaster.testing.scenarios.kai.session import NOW, Session, open_session
from quartermaster.testing.scenarios.kai.states import initial
from quartermaster.testing.scenarios.results import Outcome

UNLIMITED_QUOTA = {"deserved": -1, "limit": -1, "over_quota_weight": 1}
DEFAULTS = ["predicates", "proportion", "gpusharingorder", "gpupack", "resourcetype", "minruntime"]
PLACEMENT = {"name": "nodeplacement", "arguments": {"cpu": "binpack", "gpu": "binpack"}}


def task(name: str, state: str = "Pending", node: str = "", **more: Any) -> dict[str, Any]:
    gpus = more.pop("gpus", 1.0)
    shared = gpus != int(gpus) or more.get("mib", 0) > 0
    ask = {
        "device_count": more.pop("devices", 1) if shared else max(1, int(gpus)),
        "portion_per_device": gpus if shared else 1,
        "gpu_memory_mib_per_device": more.pop("mib", 0),
        "gpu_count": gpus,
        "is_shared_gpu_request": shared,
    }
    request = {"cpu_milli": 1000, "memory_bytes": 10**9, "gpu_count": gpus, "pods": 1}
    base = {"task_id": name, "state": state, "node_name": node, "gpu_groups": more.pop("groups", [])}
    return base | {"request": request, "gpu_request": ask} | more


def job(name: str, tasks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    leaf = {"kind": "pod_set", "name": "default", "min_members": more.pop("min", len(tasks))}
    tree = {"kind": "set", "name": "", "min_sub_groups": None, "sub_groups": [], "pod_sets": [leaf]}
    base = {"name": name, "namespace": "ns", "queue": "q", "priority": 50, "preemptible": True, "age_seconds": 60}
    return base | {"sub_group_tree": tree, "tasks": tasks} | more


def case(jobs: list[dict[str, Any]], **more: Any) -> Case:
    node = {
        "name": "n0",
        "allocatable": {"cpu_milli": 8000, "memory_bytes": 16 * 10**9, "gpu_count": 4, "pods": 110},
        "gpu_memory_mib_per_device": 100,
        "labels": {"kai.scheduler/type": "n0"},
    }
    queue = {
        "name": "q",
        "parent": "",
        "priority": 100,
        "created_offset_minutes": 2,
        "gpu": {"deserved": 2, "limit": -1, "over_quota_weight": 3},
        "cpu_milli": UNLIMITED_QUOTA,
        "memory_mb": {"deserved": 5, "limit": 7, "over_quota_weight": -1},
        "reclaim_min_runtime_seconds": 30,
    }
    raw = {
        "id": "x",
        "name": "made up",
        "kind": "unit",
        "actions": ["allocate"],
        "call_limits": {"present": True, "max_binds": 9, "max_evictions": 9, "max_pipelines": 9},
        "nodes": [node],
        "queues": [queue],
        "jobs": jobs,
        "expected": {"jobs": {}, "tasks": {}, "nodes": {}},
        "observed": {"rounds": []},
    } | more
    document = {"format": "kai-cases/1", "default_plugins": [], "cases": [raw]}
    return read(json.dumps(document).encode(), file="made.json").cases[0]


def session(made: Case, plugins: Sequence[str] = DEFAULTS) -> Session:
    listed = [{"name": name, "arguments": {}} for name in plugins] + [PLACEMENT]
    text = json.dumps({"format": "kai-cases/1", "default_plugins": listed, "cases": []})
    return open_session(made, read(text.encode(), file="x").default_plugins, initial(made))


def test_nodes_and_queues_in_our_units() -> None:
    asked = session(case([job("j", [task("j-0")])]))
    node = asked.state.node(0)
    assert (node.cpu, node.memory, node.gpus, node.gpu_memory, node.pods) == (8000, 16 * 10**9, 4, 100 * MIB, 110)
    assert node.ephemeral_storage == UNBOUNDED
    queue = asked.policies.queues["q"]
    assert (queue.parent, queue.created, queue.reclaim_min_runtime, queue.preempt_min_runtime) == (None, 120, 30, None)
    assert queue.quota("gpu").deserved == 2
    assert (queue.quota("gpu").limit, queue.quota("gpu").over_quota_weight) == (UNLIMITED, 3)
    assert (queue.quota("cpu").deserved, queue.quota("cpu").limit) == (UNLIMITED, UNLIMITED)
    assert (queue.quota("memory").deserved, queue.quota("memory").limit) == (5 * 10**6, 7 * 10**6)
    assert queue.quota("memory").over_quota_weight == 0


def test_plugins_are_switches() -> None:
    made = case([job("j", [task("j-0", node_affinity_names=["n7"])])])
    full = session(made).policies
    assert full.placement == KaiScore(gpu="pack", cpu="pack", devices="pack", by_kind=True, share_first=True)
    bare = open_session(made, [], initial(made))
    assert bare.policies.placement == KaiScore(gpu=None, cpu=None, devices=None, by_kind=False, share_first=False)
    assert bare.policies.queues["q"].quota("gpu").deserved == UNLIMITED
    assert bare.policies.queues["q"].reclaim_min_runtime is None
    assert [group.root.pods[0].spec.node_affinity for group in bare.groups] == [()]
    assert [len(group.root.pods[0].spec.node_affinity) for group in session(made).groups] == [1]


def test_predicates_are_off_without_call_limits() -> None:
    limits = {"present": False, "max_binds": 0, "max_evictions": 0, "max_pipelines": 0}
    made = case([job("j", [task("j-0", node_affinity_names=["n7"])])], call_limits=limits)
    assert session(made).groups[0].root.pods[0].spec.node_affinity == ()


def test_actions_and_rules() -> None:
    made = case(
        [job("j", [task("j-0")])],
        actions=["stalegangeviction", "allocate", "consolidation"],
        harness_overrides={"default_staleness_grace_period_seconds": 60},
        plugins=[{"name": "proportion", "arguments": {"reclaimerUtilizationMultiplier": "1.5", "kValue": "0.5"}}],
    )
    assert made.plugins != "default"
    policies = open_session(made, made.plugins, initial(made)).policies
    assert policies.actions == (Action.STALE, Action.ALLOCATE, Action.CONSOLIDATE)
    rules = policies.rules
    assert (rules.staleness_grace, rules.saturation_multiplier, rules.history) == (60, 1.5, 0.5)


def test_what_tasks_ask_of_gpus() -> None:
    asks = [
        task("j-0", gpus=2.0),
        task("j-1", gpus=0.25, devices=2),
        task("j-2", gpus=0.0, mib=40),
        task("j-3", gpus=0.0),
    ]
    pods = list(session(case([job("j", asks)])).groups[0].pods)
    assert [pod.spec.gpu for pod in pods] == [
        GpuRequest(count=2),
        GpuRequest(count=2, share=DEVICE // 4),
        GpuRequest(count=1, memory=40 * MIB),
        GpuRequest(),
    ]


def test_groups_have_their_history() -> None:
    made = case(
        [
            job("pending", [task("p-0")], age_seconds=300, preemption_delay_seconds=60),
            job("there", [task("t-0", "Running", "n0"), task("t-1")], stale_for_seconds=5),
            job("done", [task("d-0", "Running", "n0"), task("d-1", "Succeeded", "n0")]),
            job("never", [task("n-0", "Running", "n0")], staleness_grace_period_seconds=-1),
            job("short", [task("s-0"), task("s-1", "Gated")], min=3),
        ]
    )
    asked = session(made)
    assert [group.name for group in asked.groups] == ["pending", "there", "short"]
    assert [group.name for group in asked.running] == ["there", "done", "never"]
    groups: dict[str, PodGroup] = {group.name: group for group in (*asked.groups, *asked.running)}
    assert groups["pending"].created == NOW - 300
    assert (groups["pending"].started, groups["pending"].preemption_delay) == (None, 60)
    assert (groups["there"].started, groups["there"].stale_since) == (NOW - 60, NOW - 5)
    assert [groups[name].staleness_grace for name in ("there", "done", "never")] == [None, UNLIMITED, UNLIMITED]
    short = groups["short"].root
    assert (short.minimum, [pod.gated for pod in short.pods]) == (3, [False, True, True])


def test_who_is_where() -> None:
    made = case(
        [
            job("a", [task("a-0", "Running", "n0", gpus=0.5, groups=["x"])]),
            job("b", [task("b-0", "Releasing", "n0", gpus=0.5, groups=["x"])]),
            job("c", [task("c-0", "StuckInReleasing", "n0", gpus=2.0)], preemptible=False),
            job("d", [task("d-0", "Failed", "n0")]),
        ]
    )
    state = session(made).state
    assert state.gpu_free[0].tolist() == [0, 0, 0, DEVICE]
    assert state.leaving == {"b-0": True, "c-0": False}
    assert set(state.pods) == {"a-0", "b-0", "c-0"}
    assert ("q", False) in state.accounts


def test_an_overbooked_node_is_taken_as_it_is() -> None:
    made = case([job("a", [task(f"a-{i}", "Running", "n0", gpus=2.0) for i in range(3)])])
    assert session(made).state.gpu_free[0].tolist() == [0, 0, -DEVICE, -DEVICE]


# ---- rounds


class Told:
    """Answers each session with the next of its orders: ("bind" | "pipeline", pod) or ("evict", pod)."""

    def __init__(self, *orders: list[tuple[str, str]]) -> None:
        self.orders = list(orders)
        self.waiting: list[list[str]] = []

    def __call__(
        self,
        snapshot: Snapshot,
        policies: Policies,  # noqa: ARG002
        *,
        groups: Sequence[PodGroup],
        **rest: Any,
    ) -> Plan:
        state, plan = snapshot.state, Plan(["n0"])
        specs = {pod.name: pod.spec for group in (*groups, *rest["running"]) for pod in group.pods}
        self.waiting.append(sorted(pod for pod in specs if pod not in state.pods))
        for what, pod in self.orders.pop(0) if self.orders else []:
            if what == "evict":
                plan.evictions.append(Evict(pod, "n0", ""))
            else:
                shapes = (state.shape(specs[pod]),)
                plan.placements.append(GroupPlacement(pod, 0, (pod,), shapes, (0,), (1,), nominated=what == "pipeline"))
        return plan


ROUNDS = {"until_match": 2, "after_match": 2}


def test_decisions_come_to_pass_between_sessions() -> None:
    made = case(
        [job("a", [task("a-0", "Running", "n0")]), job("b", [task("b-0")]), job("c", [task("c-0", "Running", "n0")])],
        kind="integration",
        rounds=ROUNDS,
    )
    told = Told([("evict", "a-0"), ("pipeline", "b-0"), ("evict", "c-0"), ("pipeline", "c-0")], [("bind", "b-0")])
    rounds = play(made, [], told)
    assert [done.phase for done in rounds] == ["until_match", "until_match", "match_rebuild", *["after_match"] * 2]
    assert [done.matched for done in rounds] == [False, False, True, True, True]
    statuses = [tuple(done.after[name].status.value for name in ("a-0", "b-0", "c-0")) for done in rounds]
    assert statuses == [
        ("Releasing", "Pipelined", "Pipelined"),
        ("Pending", "Binding", "Pending"),
        *[("Pending", "Running", "Pending")] * 3,
    ]
    assert told.waiting == [["b-0"], ["a-0", "b-0", "c-0"], ["a-0", "c-0"], ["a-0", "c-0"]]
    assert [(done.binds, len(done.evicted), done.pipelines) for done in rounds[:2]] == [(0, 2, 2), (1, 0, 0)]


def test_a_job_that_is_being_deleted_does_not_come_back() -> None:
    made = case([job("a", [task("a-0", "Running", "n0")], delete_in_test=True)], kind="integration", rounds=ROUNDS)
    rounds = play(made, [], Told([("evict", "a-0")]))
    assert [done.after["a-0"].status for done in rounds] == [Status.RELEASING] * 5


def test_binds_that_fail_bind_nothing() -> None:
    made = case([job("a", [task("a-0")])], harness_overrides={"every_bind_call_fails": True})
    (done,) = play(made, [], Told([("bind", "a-0")]))
    assert (done.after["a-0"].status, done.binds) == (Status.PENDING, 0)


@pytest.mark.parametrize("why", ["input", "crash"])
def test_what_cannot_be_played_is_an_error_that_says_why(why: str) -> None:
    made = case([job("a", [task("a-0", "Running", "n7" if why == "input" else "n0")])])

    def crash(*_: object, **__: object) -> Plan:
        raise RuntimeError("out of tea")

    result = judge(made, [], file="f", decide=crash)
    assert result.outcome is Outcome.ERROR
    (said,) = result.differences
    if why == "input":
        assert said == "node 'n7': does not exist; name a node of this cluster"
    else:
        assert said.startswith("crashed: RuntimeError: out of tea (test_kai_sessions.py:")
