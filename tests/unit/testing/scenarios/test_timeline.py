"""Virtual time: what becomes of decisions, told by a scheduler that does as it is told."""

from collections.abc import Sequence
from typing import Any

import pytest

from quartermaster.cluster.snapshot import Snapshot
from quartermaster.model.podgroup import PodGroup
from quartermaster.scheduling.cycle import Policies
from quartermaster.scheduling.placing import Rng
from quartermaster.scheduling.plan import Evict, GroupPlacement, Plan
from quartermaster.testing.scenarios.results import CaseResult, Outcome
from quartermaster.testing.scenarios.timeline.document import read
from quartermaster.testing.scenarios.timeline.judging import judge

Order = tuple[Any, ...]


class Script:
    """Decides by a table from time to orders: ("bind" | "nominate", pod, node, devices) or ("evict", pod, node)."""

    def __init__(self, orders: dict[float, list[Order]]) -> None:
        self.orders = orders
        self.asked: dict[float, tuple[list[str], list[str]]] = {}
        self.seen: dict[float, dict[str, PodGroup]] = {}
        self.free: dict[float, list[list[int]]] = {}

    def __call__(
        self,
        snapshot: Snapshot,
        policies: Policies,  # noqa: ARG002
        *,
        groups: Sequence[PodGroup],
        running: Sequence[PodGroup],
        now: float,
        rng: Rng,  # noqa: ARG002
    ) -> Plan:
        state = snapshot.state
        self.asked[now] = [group.name for group in groups], [group.name for group in running]
        self.seen[now] = {group.name: group for group in (*groups, *running)}
        self.free[now] = [state.gpu_free[row, : state.node(row).gpus].tolist() for row in state.rows.values()]
        plan = Plan([node.name if node else "" for node in state.nodes])
        specs = {pod.name: (group.name, pod.spec) for group in groups for pod in group.pods}
        for what, pod, node, *devices in self.orders.get(now, []):
            if what == "evict":
                plan.evictions.append(Evict(pod, node, "told to", "preempt", ""))
                continue
            group, spec = specs[pod]
            mask = sum(1 << device for device in devices)
            plan.placements.append(
                GroupPlacement(
                    group, 0, (pod,), (state.shape(spec),), (state.row(node),), (mask,), nominated=what == "nominate"
                )
            )
        return plan


HEAD = """\
name: told
cluster: {nodes: [{name: n, count: 2, gpus: 2}]}
until: 100s
"""


def play(text: str, orders: dict[float, list[Order]]) -> tuple[CaseResult, Script]:
    script = Script(orders)
    return judge(read((HEAD + text).encode(), file="told.yaml")[0], file="told.yaml", decide=script), script


def test_an_evicted_pod_keeps_its_room_for_the_grace_and_waits_again() -> None:
    result, script = play(
        """
workloads: [{name: a, count: 2, min: 1, pod: {gpus: 1}}, {name: b, at: 20s, pod: {gpus: 2}}]
grace: 15s
expect:
  - {at: 10s, group: a, running: 2, waiting: 0}
  - {at: 20s, group: a, running: 1, leaving: 1, waiting: 0, evicted: 1}
  - {at: 20s, group: b, waiting: 1, nominated: 1}
  - {at: 34s, group: a, leaving: 1}
  - {at: 35s, group: a, leaving: 0, waiting: 1}
  - {evictions: 1}
  - {group: a, nodes: [n-0]}
thresholds: {lost-gpu-seconds: 20, gpu-utilisation: 0.3375, mean-wait: 40}
""",
        {
            0: [("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-1", 0)],
            20: [("evict", "a-1", "n-1"), ("nominate", "b-0", "n-1", 0, 1)],
        },
    )
    assert result.differences == ()
    assert script.asked[20] == (["b"], ["a"])
    assert script.asked[35] == (["a", "b"], ["a"])
    assert script.free[30][1][0] == 0, "its room is not free while it leaves"
    assert script.free[35][1][0] > 0
    assert script.seen[30]["a"].last_evicted == 20


def test_a_group_ends_its_run_time_after_it_last_reached_its_minimum() -> None:
    result, script = play(
        """
workloads: [{name: a, count: 2, runtime: 30s, pod: {gpus: 1}}]
grace: 5s
expect:
  - {at: 39s, group: a, completed: false}
  - {at: 79s, group: a, completed: false}
  - {at: 80s, group: a, completed: true, running: 0, waiting: 0}
thresholds: {completed: 1}
""",
        {
            0: [("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-0", 1)],
            20: [("evict", "a-1", "n-0")],
            50: [("bind", "a-1", "n-0", 1)],
        },
    )
    assert result.differences == ()
    assert script.seen[10]["a"].started == 0
    assert script.seen[30]["a"].started is None
    assert script.seen[60]["a"].started == 50
    assert script.asked[80] == ([], [])


def test_a_lost_node_takes_its_pods_and_leaves_a_stale_gang() -> None:
    result, script = play(
        """
workloads: [{name: a, count: 2, pod: {gpus: 1}}]
events: [{at: 13s, node-down: n-1}, {at: 40s, node-up: n-1}]
expect: [{at: 13s, group: a, running: 1, waiting: 1}, {at: 50s, group: a, running: 2, evicted: 0}]
thresholds: {lost-gpu-seconds: 13}
""",
        {0: [("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-1", 0)], 50: [("bind", "a-1", "n-1", 0)]},
    )
    assert result.differences == ()
    assert [len(script.free[at]) for at in (10, 13, 40)] == [2, 1, 2]
    assert [script.seen[at]["a"].stale_since for at in (10, 13, 40, 60)] == [None, 13, 13, None]


def test_a_cycle_is_held_at_every_event_and_every_so_often() -> None:
    _, script = play(
        "workloads: [{name: a, at: 7s}]\nevery: 40s\n"
        "events: [{at: 33s, complete: a}]\nexpect: [{at: 50s, evictions: 0}]",
        {},
    )
    assert list(script.asked) == [0, 7, 33, 40, 50, 80, 100]
    assert script.asked[7] == (["a"], [])
    assert script.asked[33] == ([], [])


def test_queues_change_and_budgets_are_used_up() -> None:
    seen: dict[float, Policies] = {}
    script = Script({0: [("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-0", 1)], 10: [("evict", "a-0", "n-0")]})

    def decide(snapshot: Snapshot, policies: Policies, *, now: float, **rest: Any) -> Plan:
        seen[now] = policies
        return script(snapshot, policies, now=now, **rest)

    text = """
queues: [{name: q, gpu: {deserved: 1}}]
budgets: [{name: keep, match: {app: x}, max-unavailable: 1}]
workloads: [{name: a, queue: q, count: 2, min: 1, pod: {gpus: 1, labels: {app: x}}}]
events: [{at: 30s, queue: {name: q, gpu: {deserved: 2, limit: 3}}}]
expect: [{queue: q, gpus: 1}]
"""
    result = judge(read((HEAD + text).encode(), file="x.yaml")[0], file="x.yaml", decide=decide)
    assert result.differences == ()
    assert [seen[at].queues["q"].quota("gpu").deserved for at in (20, 30)] == [1, 2]
    assert [seen[at].budgets[0].allowed for at in (0, 10, 20)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-0", 0)], "node n-0: 2 of GPU 0 taken now"),
        ([("bind", "a-0", "n-0", 0)], "group a is placed below its minimum"),
        (
            [("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-1", 0)],
            "group a: 'a' is not inside one domain of 'kubernetes.io/hostname'",
        ),
        ([("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-0", 1)], ""),
        ([("bind", "b-0", "n-1", 0, 1)], "queue q: holds 2 gpu, above its limit of 1"),
        ([("bind", "c-0", "n-1")], "node n-1: 99000 cpu of 64000 taken now"),
    ],
)
def test_broken_invariants_are_differences_whatever_was_expected(orders: list[Order], said: str) -> None:
    text = """
queues: [{name: q, gpu: {limit: 1}}, {name: r}]
workloads:
  - {name: a, queue: r, count: 2, pod: {gpus: 1}, topology: {topology: t, required: kubernetes.io/hostname}}
  - {name: b, queue: q, pod: {gpus: 2}}
  - {name: c, queue: r, pod: {cpu: 99}}
expect: [{evictions: 0}]
"""
    cluster = "[{name: n, count: 2, gpus: 2}], topologies: [{name: t, levels: [kubernetes.io/hostname]}]}"
    head = HEAD.replace("[{name: n, count: 2, gpus: 2}]}", cluster)
    result = judge(read((head + text).encode(), file="x.yaml")[0], file="x.yaml", decide=Script({0: orders}))
    assert set(result.differences) == ({f"at 0s: {said}"} if said else set())


EXPECT: list[tuple[str, str]] = [
    ("{group: a, running: 3}", "group a has 2 pods running, expected 3"),
    ("{group: a, running: {at-least: 3}}", "group a has 2 pods running, expected at least 3"),
    ("{group: a, running: {at-most: 1}}", "group a has 2 pods running, expected at most 1"),
    ("{group: a, running: {at-least: 0, at-most: 1}}", "group a has 2 pods running, expected at least 0 and at most 1"),
    ("{group: a, completed: true}", "group a has not completed"),
    ("{group: a, nodes: [n-0]}", "group a is on n-0, n-1, expected n-0"),
    ("{group: a, one-domain: kubernetes.io/hostname}", "group a is in n-0, n-1, expected one domain of"),
    ("{group: b, one-domain: kubernetes.io/hostname}", "group b is in nowhere, expected one domain of"),
    ("{group: b, reason: no room}", "group b waits because '', expected 'no room'"),
    ("{queue: default, gpus: 1}", "queue default holds 2 GPUs, expected 1"),
    ("{evictions: 1}", "there were 0 evictions, expected 1"),
]


@pytest.mark.parametrize(("expectation", "said"), EXPECT)
def test_what_is_not_as_expected_is_told_with_what_is(expectation: str, said: str) -> None:
    result, _ = play(
        f"workloads: [{{name: a, count: 2, pod: {{gpus: 1}}}}, {{name: b}}]\nexpect: [{expectation}]",
        {0: [("bind", "a-0", "n-0", 0), ("bind", "a-1", "n-1", 0)]},
    )
    assert result.outcome is Outcome.DIFFERENT
    (found,) = result.differences
    assert found.startswith(f"at 1m40s: {said}")
    assert found.endswith("(expect[0])")


def test_a_threshold_that_is_missed_is_told() -> None:
    result, _ = play("workloads: [{name: a, pod: {gpus: 1}}]\nthresholds: {max-wait: {at-most: 60}}", {})
    assert result.differences == ("max-wait 100 over the run, expected at most 60",)
