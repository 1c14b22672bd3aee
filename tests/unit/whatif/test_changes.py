"""What changes do, who is named, and what the reasons are: on small clusters whose outcome can be seen by eye."""

from dataclasses import replace

import pytest

from quartermaster.documents.snapshot import read
from quartermaster.model.errors import InvalidInput
from quartermaster.model.node import Node
from quartermaster.model.pod import GpuRequest, PodSpec
from quartermaster.model.podgroup import PodGroup
from quartermaster.whatif import changes
from quartermaster.whatif.comparing import Comparison, Verb, compare
from quartermaster.whatif.resting import as_it_is, policy_of, settle
from quartermaster.whatif.situation import Situation

TEXT = """\
now: 100
cluster: {nodes: [{name: n, count: 2, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: b, gpu: {deserved: 4}}]
workloads:
  - {name: own, queue: a, pod: {gpus: 4}, started: 0, places: {own-0: {node: n-0, devices: [0, 1, 2, 3]}}}
  - name: guest
    queue: a
    repeat: 2
    pod: {gpus: 2}
    started: 0
    places: {guest-0-0: {node: n-1, devices: [0, 1]}, guest-1-0: {node: n-1, devices: [2, 3]}}
  - {name: next, queue: a, at: 50, pod: {gpus: 2}}
"""


@pytest.fixture
def now() -> Situation:
    return read(TEXT.encode(), file="s.yaml")


def found(now: Situation, changed: Situation) -> Comparison:
    policy = policy_of(now)
    return compare(now, settle(now, placement=policy), settle(changed, placement=policy))


def verbs(comparison: Comparison) -> dict[str, Verb]:
    return {one.group: one.verb for one in comparison.differences}


def gang(name: str, queue: str, gpus: int, size: int = 1) -> PodGroup:
    return PodGroup.gang(name, queue=queue, spec=PodSpec(gpu=GpuRequest(count=gpus)), size=size)


def test_without_a_change_it_says_what_the_scheduler_does(now: Situation) -> None:
    comparison = compare(now, as_it_is(now), settle(now, placement=policy_of(now)))
    assert verbs(comparison) == {"next": Verb.WAITS}
    assert "no node fits" in comparison.waiting["next"]


def test_nothing_changed_is_nothing_different(now: Situation) -> None:
    assert found(now, now).differences == ()


def test_nodes_let_those_start_who_waited(now: Situation) -> None:
    comparison = found(now, changes.add_nodes(now, changes.nodes_like(now, "n-1", 1)))
    assert verbs(comparison) == {"next": Verb.STARTS}
    (one,) = comparison.differences
    assert one.after is not None
    assert dict(one.after.nodes) == {"n-1-new-0": 1}
    assert comparison.waiting == {}


def test_a_gang_takes_back_what_its_queue_deserves(now: Situation) -> None:
    comparison = found(now, changes.submit(now, [gang("train", "b", 2, size=2)]))
    assert verbs(comparison) == {
        "train": Verb.STARTS, "guest-0": Verb.EVICTED, "guest-1": Verb.EVICTED, "next": Verb.WAITS,
    }  # fmt: skip
    by_name = {one.group: one for one in comparison.differences}
    assert by_name["train"].reasons == (
        "reclaim: takes the room of 1 pod of 'guest-0'", "reclaim: takes the room of 1 pod of 'guest-1'",
    ) or by_name["train"].reasons == (
        "reclaim: takes the room of 1 pod of 'guest-1'", "reclaim: takes the room of 1 pod of 'guest-0'",
    )  # fmt: skip
    assert by_name["guest-0"].reasons[0] == "reclaimed from queue 'a' for 'train' in queue 'b'"
    gpus = {
        one.queue: [book.used // 10**6 for book in one.books]
        for one in comparison.entitlements
        if one.resource == "gpu"
    }
    assert gpus == {"a": [8, 4], "b": [0, 4]}


def test_a_limit_says_so(now: Situation) -> None:
    bound = changes.set_quota(now, "a", "gpu", limit=8.0)
    comparison = found(now, bound)
    assert comparison.waiting["next"].startswith("queue 'a': limit of 8 gpu: 8 in use, 2 more asked")


def test_who_is_evicted_waits_again_behind_those_that_came_before(now: Situation) -> None:
    comparison = found(now, changes.complete(now, "guest-0"))
    assert verbs(comparison) == {"next": Verb.STARTS, "guest-0": Verb.GONE}
    evicted = changes.evict(now, "guest-1")
    assert "guest-1-0" not in evicted.places
    group = evicted.group("guest-1")
    assert group is not None
    assert (group.started, group.last_evicted) == (None, 100.0)


def test_a_node_that_goes_takes_its_pods_along(now: Situation) -> None:
    comparison = found(now, changes.remove_node(now, "n-0"))
    assert verbs(comparison)["own"] is Verb.EVICTED or verbs(comparison)["own"] is Verb.MOVES
    assert all("n-0" not in one.after.nodes for one in comparison.differences if one.after is not None)


def test_changes_are_made_together(now: Situation) -> None:
    both = changes.submit(changes.add_nodes(now, changes.nodes_like(now, "n-1", 1)), [gang("train", "b", 2)])
    assert verbs(found(now, both)) == {"train": Verb.STARTS, "next": Verb.STARTS}


def test_pods_that_are_leaving_have_left(now: Situation) -> None:
    places = {**now.places, "guest-0-0": replace(now.places["guest-0-0"], leaving=True)}
    rest = settle(replace(now, places=places), placement=policy_of(now))
    assert rest.rested
    assert rest.situation.places.keys() & {"next-0", "guest-0-0"}


def test_starts_are_expected_where_run_times_are_declared() -> None:
    now = read(
        TEXT.replace("started: 0, places: {own", "runtime: 400, started: 0, places: {own").encode(), file="s.yaml"
    )
    comparison = compare(now, as_it_is(now), settle(now, placement=policy_of(now)))
    assert comparison.starts == {"next": 400.0}
    assert "expected to start in 300 s" in comparison.waiting["next"]


def test_too_few_rounds_are_said(now: Situation) -> None:
    changed = changes.add_nodes(now, changes.nodes_like(now, "n-1", 1))
    assert not settle(changed, placement=policy_of(now), rounds=1).rested


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: changes.remove_node(s, "n-7"), "node 'n-7': does not exist; name one of: n-1, n-0"),
        (lambda s: changes.evict(s, "nxt"), "workload 'nxt': does not exist; name one of: next"),
        (lambda s: changes.evict(s, "next"), "workload 'next': has no pods on nodes; name one that runs"),
        (lambda s: changes.submit(s, [gang("next", "a", 1)]), "workload 'next': is there already; give it a name of"),
        (lambda s: changes.add_nodes(s, [Node(name="n-0", cpu=1, memory=1)]), "node 'n-0': is there already;"),
        (lambda s: changes.set_quota(s, "c", "gpu", limit=1), "queue 'c': does not exist; name one of: a, b"),
        (
            lambda s: changes.set_quota(s, "a", "gpu", limit=1),
            "queue 'a': gpu: deserves 4 above its limit of 1; raise the limit or lower what it deserves",
        ),
    ],
)
def test_changes_that_cannot_be(now: Situation, change: object, said: str) -> None:
    assert callable(change)
    with pytest.raises(InvalidInput) as wrong:
        change(now)
    assert str(wrong.value).startswith(said), str(wrong.value)
