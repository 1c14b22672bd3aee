"""The worked example of docs/time.md, and the edges of reservations, backfill, forecasts, ageing and max run time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quartermaster.cluster.state import ClusterState
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree, Quota
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.estimates import ENOUGH, KEPT, Estimates
from quartermaster.scheduling.plan import Plan
from quartermaster.scheduling.policies.simple import FirstFit
from quartermaster.scheduling.rules import Rules

ROOT = Path(__file__).parents[3]
FULL = PodSpec(gpu=GpuRequest(count=8))
ONE = PodSpec(gpu=GpuRequest(count=1))


def job(name: str, nodes: int, runtime: float | None, *, created: float = 0.0, spec: PodSpec = FULL) -> PodGroup:
    return replace(PodGroup.gang(name, queue="default", spec=spec, size=nodes, created=created), runtime=runtime)


def cluster(*running: tuple[PodGroup, Sequence[int]], nodes: int = 4) -> ClusterState:
    state = ClusterState(Node(name=f"n{number}", cpu=1000, memory=0, gpus=8) for number in range(nodes))
    for group, rows in running:
        for pod, row in zip(group.pods, rows, strict=True):
            state.assume(pod.name, pod.spec, f"n{row}", range(pod.spec.gpu.count), queue=group.queue)
    return state


def decide(
    state: ClusterState,
    waiting: Sequence[PodGroup],
    running: Sequence[PodGroup],
    *,
    now: float = 0.0,
    rules: Rules | None = None,
    estimates: Estimates | None = None,
    queues: QueueTree | None = None,
) -> Plan:
    policies = Policies(
        placement=FirstFit(),
        rules=rules or Rules(),
        estimates=estimates or Estimates(),
        queues=queues or QueueTree.single(),
    )
    before = state.to_bytes()
    plan = cycle(state.borrow(), policies, groups=waiting, running=running, now=now, rng=np.random.default_rng(1))
    assert state.to_bytes() == before
    return plan


def placed(plan: Plan) -> set[str]:
    return {placement.group for placement in plan.placements}


# ---- the example

RUNNING = replace(job("old", 2, 100.0), started=0.0)
"""On n0 and n1 until 100 s; n2 and n3 are idle."""

HEAD = job("head", 3, 50.0, created=1.0)


def example(*behind: PodGroup, rules: Rules | None = None) -> Plan:
    waiting = [HEAD, *(replace(group, created=2.0 + n) for n, group in enumerate(behind))]
    return decide(cluster((RUNNING, (0, 1))), waiting, [RUNNING], now=10.0, rules=rules)


def test_the_head_gets_a_date_and_places() -> None:
    plan = example()
    assert plan.reservations["head"].start == 100.0
    assert plan.reservations["head"].nodes == ("n0", "n1", "n2")
    assert placed(plan) == set()


def test_who_ends_in_time_passes_anywhere() -> None:
    plan = example(job("short", 2, 90.0))
    assert placed(plan) == {"short"}
    assert plan.reservations["head"].start == 100.0


def test_who_runs_longer_passes_beside_what_is_reserved() -> None:
    plan = example(job("long", 1, 1000.0))
    assert [bind.node for bind in plan.binds] == ["n3"]
    assert plan.reservations["head"].nodes == ("n0", "n1", "n2")


def test_who_would_delay_it_waits_and_is_told() -> None:
    plan = example(job("wide", 2, 91.0), job("unknown", 2, None))
    assert placed(plan) == set()
    reasons = {verdict.group: str(verdict.explanation) for verdict in plan.unschedulable}
    assert "delay 'head'" in reasons["wide"]
    assert "reserved in 90 s" in reasons["wide"]
    assert "delay 'head'" in reasons["unknown"]


def test_the_reservation_moves_where_that_costs_it_nothing() -> None:
    # Two of the four nodes are idle, and reserved; at 100 s three others will do.
    head = replace(HEAD, root=job("head", 2, 50.0).root)
    busy = replace(job("old", 3, 100.0), started=0.0)
    behind = job("long", 1, 1000.0, created=2.0)
    plan = decide(cluster((busy, (1, 2, 3))), [head, behind], [busy], now=10.0)
    assert [bind.node for bind in plan.binds] == ["n0"]
    assert plan.reservations["head"].start == 100.0
    assert plan.reservations["head"].nodes == ("n1", "n2")


def test_without_reservations_the_wide_one_starves_it() -> None:
    plan = example(job("wide", 2, 1000.0), rules=Rules(reservations=0))
    assert placed(plan) == {"wide"}
    assert plan.reservations == {}


def test_the_page_has_these_numbers() -> None:
    page = (ROOT / "docs" / "time.md").read_text(encoding="utf-8")
    for row in ("| short | 2 | 90 s |", "| wide | 2 | 91 s |", "| long | 1 | 1000 s |"):
        assert row in page


# ---- edges


def test_no_known_end_no_reservation() -> None:
    forever = replace(RUNNING, runtime=None)
    plan = decide(cluster((forever, (0, 1))), [HEAD, job("wide", 2, None, created=2.0)], [forever], now=10.0)
    assert plan.reservations == {}
    assert placed(plan) == {"wide"}


def test_a_group_that_never_fits_has_none_and_the_next_does() -> None:
    giant = job("giant", 5, 10.0)
    plan = decide(cluster((RUNNING, (0, 1))), [giant, HEAD], [RUNNING], now=10.0)
    assert set(plan.reservations) == {"head"}


def test_two_reservations_in_a_row() -> None:
    second = job("second", 4, 50.0, created=2.0)
    plan = decide(cluster((RUNNING, (0, 1))), [HEAD, second], [RUNNING], now=10.0, rules=Rules(reservations=2))
    assert {name: one.start for name, one in plan.reservations.items()} == {"head": 100.0, "second": 150.0}


def test_a_group_that_outran_its_estimate_is_given_as_long_again() -> None:
    plan = decide(cluster((RUNNING, (0, 1))), [HEAD], [RUNNING], now=130.0)
    assert plan.reservations["head"].start == 200.0


def test_what_was_promised_is_kept_where_it_is() -> None:
    plan = example()
    kept = replace(
        HEAD,
        reserved=replace(
            plan.reservations["head"],
            seats=tuple(
                seat._replace(node={"n0": "n1", "n1": "n2", "n2": "n3"}[seat.node])
                for seat in plan.reservations["head"].seats
            ),
        ),
    )
    again = decide(cluster((RUNNING, (0, 1))), [kept], [RUNNING], now=20.0)
    assert again.reservations["head"] == kept.reserved


def test_room_made_by_eviction_is_not_taken_from_what_is_reserved() -> None:
    # Low runs on n3 alone; high, behind the head, may preempt it, and not take the idle n2 as well.
    head = replace(HEAD, priority=60, may_preempt=False)
    low = replace(job("low", 1, None), priority=40, started=0.0)
    high = replace(job("high", 2, None), created=2.0, priority=55)
    other = replace(job("high-one", 1, None), created=3.0, priority=55)
    state = cluster((RUNNING, (0, 1)), (low, (3,)))
    firm = replace(RUNNING, preemptible=False)
    plan = decide(state, [head, high, other], [firm, low], now=10.0)
    assert plan.reservations["head"].nodes == ("n0", "n1", "n2")
    assert {evict.pod for evict in plan.evictions} == {"low-0"}
    assert placed(plan) == {"high-one"}
    assert [bind.node for bind in plan.nominations] == ["n3"]


def test_a_new_queue_may_be_first_seen_while_pods_leave() -> None:
    state = cluster((RUNNING, (0, 1)), nodes=2)
    for pod in RUNNING.pods:
        state.leave(pod.name)
    queues = QueueTree([Queue(name="default"), Queue(name="new")])
    plan = decide(state, [replace(job("next", 2, None), queue="new")], [], queues=queues)
    assert [bind.node for bind in plan.nominations] == ["n0", "n1"]


def test_quota_is_not_waited_for_with_a_reservation() -> None:
    queues = QueueTree([Queue(name="default", quotas={"gpu": Quota(limit=24)})])
    plan = decide(cluster((RUNNING, (0, 1))), [HEAD, job("wide", 1, None, created=2.0)], [RUNNING], queues=queues)
    assert plan.reservations == {}
    assert placed(plan) == {"wide"}


# ---- estimated starts


def test_starts_are_what_happens() -> None:
    rules = Rules(forecast=10)
    plan = example(job("wide", 2, 91.0), job("later", 4, None), job("never", 4, 1.0), rules=rules)
    # The head has three nodes from 100 s to 150 s; only then are two of them free for 'wide'.
    assert plan.starts == {"head": 100.0, "wide": 150.0, "later": 241.0, "never": None}
    reasons = {verdict.group: str(verdict.explanation) for verdict in plan.unschedulable}
    assert "room is reserved in 90 s on n0, n1, n2; expected to start in 90 s" in reasons["head"]
    assert reasons["later"].endswith("expected to start in 231 s")
    assert "expected" not in reasons["never"]


def test_few_instants_give_late_rather_than_early_starts() -> None:
    busy = [replace(job(f"b{n}", 1, 10.0 * (n + 1)), started=0.0) for n in range(4)]
    state = cluster(*((group, (n,)) for n, group in enumerate(busy)))
    waiting = job("next", 1, 5.0)
    for instants, start in ((4, 10.0), (2, 20.0), (1, 40.0)):
        plan = decide(state, [waiting], busy, rules=Rules(forecast=instants))
        assert plan.starts == {"next": start}


# ---- ageing


def test_waiting_raises_priority_up_to_the_cap() -> None:
    rules = Rules(ageing=10.0, ageing_cap=15.0)
    old, new = job("old", 1, None), replace(job("new", 1, None, created=3600.0), priority=55)
    assert rules.aged(old, 3600.0) == 60.0
    assert rules.aged(old, 7 * 3600.0) == 65.0
    one = cluster((job("there", 3, None), (0, 1, 2)))
    assert placed(decide(one, [new, old], [], now=3600.0, rules=rules)) == {"old"}
    assert placed(decide(one, [new, old], [], now=3600.0)) == {"new"}


def test_ageing_lets_nobody_evict() -> None:
    running = replace(job("there", 4, None), started=0.0, priority=55)
    old = job("old", 1, None)
    plan = decide(cluster((running, range(4))), [old], [running], now=1e6, rules=Rules(ageing=10.0))
    assert plan.evictions == []


# ---- max run time


def test_a_group_past_its_max_runtime_is_evicted_and_goes_to_the_end() -> None:
    running = replace(job("there", 4, None), started=0.0, max_runtime=100.0)
    plan = decide(cluster((running, range(4))), [], [running], now=99.0)
    assert plan.evictions == []
    plan = decide(cluster((running, range(4))), [], [running], now=100.0)
    assert {(evict.pod, evict.action) for evict in plan.evictions} == {(f"there-{n}", "max-runtime") for n in range(4)}
    again = replace(running, started=None, requeued=100.0)
    assert placed(decide(cluster(), [again, job("next", 4, None, created=50.0)], [], now=101.0)) == {"next"}


def test_its_end_is_known_by_it() -> None:
    running = replace(job("there", 4, None), started=0.0, max_runtime=100.0)
    assert decide(cluster((running, range(4))), [HEAD], [running], now=10.0).reservations["head"].start == 100.0


# ---- estimates


def test_estimates_fall_back_from_the_most_telling() -> None:
    known = Estimates()
    mine = replace(job("mine", 2, None), owner="ada")
    assert known.typical(mine) is None
    for seconds in range(1, ENOUGH + 1):
        known.learn(replace(job("x", 1, None), owner="bob"), 1000.0 * seconds)
    assert (known.typical(mine), known.cautious(mine)) == (3000.0, 5000.0)  # All there are.
    for seconds in range(1, ENOUGH + 1):
        known.learn(job("x", 2, None), 100.0 * seconds)
    assert known.typical(mine) == 300.0  # As many GPUs.
    for seconds in range(1, ENOUGH + 1):
        known.learn(replace(job("x", 4, None), owner="ada"), 10.0 * seconds)
    assert known.typical(mine) == 30.0  # The same owner.
    for seconds in range(1, ENOUGH):
        known.learn(replace(job("x", 2, None), owner="ada"), float(seconds))
    assert known.typical(mine) == 10.0  # Still the owner, with the nine runs there are: 1 to 4 s and 10 to 50 s.
    known.learn(replace(job("x", 2, None), owner="ada"), 5.0)
    assert (known.typical(mine), known.cautious(mine)) == (3.0, 5.0)
    assert known.typical(replace(mine, runtime=7.0)) == 7.0
    assert known.typical(replace(mine, runtime=7.0, max_runtime=2.0)) == 2.0


def test_one_outlier_changes_nothing_and_old_runs_are_forgotten() -> None:
    known, mine = Estimates(), job("mine", 1, None)
    for _ in range(KEPT - 1):
        known.learn(mine, 10.0)
    known.learn(mine, 1e9)
    assert (known.typical(mine), known.cautious(mine)) == (10.0, 10.0)
    for _ in range(KEPT):
        known.learn(mine, 99.0)
    assert known.typical(mine) == 99.0


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidInput, match="run time"):
        Estimates().learn(job("x", 1, None), seconds)


def test_learned_estimates_make_reservations() -> None:
    known = Estimates()
    for _ in range(ENOUGH):
        known.learn(replace(job("x", 2, None), owner="ada"), 100.0)
    running = replace(RUNNING, runtime=None, owner="ada")
    plan = decide(cluster((running, (0, 1))), [HEAD], [running], now=10.0, estimates=known)
    assert plan.reservations["head"].start == 100.0


@pytest.mark.parametrize("what", ["reservations", "forecast", "ageing", "ageing_cap"])
def test_rules_of_time_are_checked(what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        Rules(**{what: -1})  # type: ignore[arg-type]


def test_elastic_growth_respects_the_reservation() -> None:
    grows = replace(
        RUNNING, root=SubGroup(pods=tuple(Pod(f"old-{n}", FULL) for n in range(4)), min=2), runtime=1000.0, created=2.0
    )
    waiting = replace(HEAD, root=job("head", 3, 50.0).root)
    short = replace(job("short", 1, 100.0), started=0.0)
    state = cluster((short, (2,)))
    for pod, row in zip(list(grows.pods)[:2], (0, 1), strict=True):
        state.assume(pod.name, FULL, f"n{row}", range(8), queue="default")
    plan = decide(state, [replace(waiting, root=job("head", 2, 50.0).root), grows], [grows, short], now=10.0)
    assert plan.reservations["head"].start == 100.0
    assert placed(plan) == set()
