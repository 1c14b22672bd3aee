"""Events in any order, twice, or of nodes that are not there: the state is what the objects say."""

from typing import Any

import pytest

from quartermaster.controllers.scheduler.occupancy import FOREIGN, Occupancy
from quartermaster.model.errors import InvalidInput
from tests.unit.controllers.cluster import node, pod


def occupancy(*nodes: Any) -> Occupancy:
    found = Occupancy(now=lambda: 100.0)
    for item in nodes:
        found.node_changed(None, item)
    return found


def where(it: Occupancy, name: str) -> str | None:
    at = it.state.pods.get(f"team/{name}")
    return None if at is None else it.state.node(at.row).name


def test_a_pod_on_a_node_that_comes_later_is_counted_then() -> None:
    it = occupancy()
    assert it.pod_changed("team/a", pod("a", node="n"))
    assert where(it, "a") is None
    it.node_changed(None, node())
    assert where(it, "a") == "n"
    assert it.moved == {"team/a"}


def test_a_node_that_goes_leaves_its_pods_astray_until_it_is_back() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", node="n"))
    it.node_changed(node(), None)
    assert where(it, "a") is None
    it.node_changed(None, node())
    assert where(it, "a") == "n"


def test_what_is_assumed_is_counted_and_its_event_changes_nothing() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a"))
    it.assume("team/a", "n", (3,))
    before = it.state.to_bytes()
    assert not it.pod_changed("team/a", pod("a", node="n"))
    assert it.state.to_bytes() == before
    assert not it.pod_changed("team/a", pod("a", node="n", phase="Running"))


def test_an_event_from_before_the_binding_does_not_undo_it() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a"))
    it.assume("team/a", "n", (0,))
    it.pod_changed("team/a", pod("a", annotations={"seen": "by somebody"}))
    assert where(it, "a") == "n"


def test_a_refusal_gives_the_room_back_unless_the_pod_is_there_after_all() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a"))
    it.assume("team/a", "n", (0,))
    releases = it.releases
    assert it.refused("team/a")
    assert where(it, "a") is None
    assert it.releases > releases
    it.assume("team/a", "n", (0,))
    it.pod_changed("team/a", pod("a", node="n"))
    assert not it.refused("team/a")
    assert where(it, "a") == "n"


def test_what_is_gone_or_bound_cannot_be_assumed() -> None:
    it = occupancy(node())
    with pytest.raises(InvalidInput):
        it.assume("team/a", "n", (0,))
    it.pod_changed("team/a", pod("a", node="n"))
    with pytest.raises(InvalidInput):
        it.assume("team/a", "n", (0,))


def test_another_pod_of_the_same_name_is_another_pod() -> None:
    it = occupancy(node(), node("m"))
    it.pod_changed("team/a", pod("a", node="n", uid="1"))
    assert it.pod_changed("team/a", pod("a", uid="2"))
    assert where(it, "a") is None
    assert it.records["team/a"].spec is not None


def test_ended_pods_hold_nothing_and_gone_ones_are_forgotten() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", node="n"))
    assert it.pod_changed("team/a", pod("a", node="n", phase="Succeeded"))
    assert where(it, "a") is None
    assert it.pod_changed("team/a", None)
    assert not it.pod_changed("team/a", None)
    assert not it.records


def test_leaving_pods_hold_their_room_until_they_are_gone() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", node="n"))
    it.pod_changed("team/a", pod("a", node="n", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert "team/a" in it.state.leaving
    assert where(it, "a") == "n"


def test_an_eviction_that_is_refused_is_taken_back() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", node="n"))
    it.leaves("team/a")
    it.stays("team/a")
    assert not it.state.leaving


def test_whose_pod_it_is_can_become_known_later() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", node="n"))
    at = it.state.pods["team/a"]
    assert it.state.accounts[at.account] == (FOREIGN, False)
    it.leaves("team/a")
    it.charge("team/a", queue="team", preemptible=True)
    assert it.state.accounts[it.state.pods["team/a"].account] == ("team", True)
    assert "team/a" in it.state.leaving


def test_labels_matter_only_where_somebody_asks_for_them() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", labels={"index": "1"}))
    it.pod_changed("team/b", pod("b", labels={"index": "2"}))
    assert it.records["team/a"].spec == it.records["team/b"].spec
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"index": "1"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    it.pod_changed("team/c", pod("c", spec={"affinity": affinity}))
    assert it.records["team/a"].spec != it.records["team/b"].spec


def test_devices_that_break_are_nobodys() -> None:
    it = occupancy(node())
    it.node_changed(node(), node(offered=6))
    row = it.state.row("n")
    assert it.state.gpu_free[row].tolist() == [1_000_000] * 6 + [0, 0]
    it.node_changed(node(offered=6), node())
    assert it.state.gpu_free[row].tolist() == [1_000_000] * 8


def test_a_heartbeat_is_no_news() -> None:
    it = occupancy(node())
    assert not it.node_changed(node(), node(annotations={"beat": "2"}))
    assert it.node_changed(node(), node(ready=False))


def test_a_pod_that_cannot_be_understood_says_why() -> None:
    it = occupancy(node())
    it.pod_changed("team/a", pod("a", annotations={"gpu-fraction": "many"}))
    assert "gpu-fraction" in it.records["team/a"].wrong


def test_pods_that_ask_for_the_same_share_what_was_read_of_them() -> None:
    it = occupancy()
    mib = {"gpu-memory": "1024"}
    for each in (
        pod("a", labels={"app": "x"}),
        pod("b", labels={"app": "y"}),
        pod("c", gpus=2),
        pod("d", gpus=0, annotations=mib),
        pod("e", gpus=0),
    ):
        it.pod_changed(f"team/{each.metadata.name}", each)
    a, b, c, d, e = (it.records[f"team/{name}"].spec for name in "abcde")
    assert a is b
    assert a != c
    assert d != e
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    it.pod_changed("team/f", pod("f", spec={"affinity": affinity}))
    a, b = (it.records[f"team/{name}"].spec for name in "ab")
    assert a is not None
    assert b is not None
    assert (a.labels, b.labels) == ((("app", "x"),), (("app", "y"),))
