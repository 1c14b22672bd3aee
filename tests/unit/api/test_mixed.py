"""A cluster with objects of several schedulers at once."""

from typing import Any

from quartermaster.api.peers.mixed import KINDS, mixed
from quartermaster.api.queues import queues_from
from quartermaster.api.topologies import topologies_from
from tests.unit.api.test_peers import KAI, KUEUE, NODES, VOLCANO, objects

Json = dict[str, Any]


def own(kind: str, name: str, **spec: Any) -> Json:
    return {"apiVersion": "quartermaster.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_all_queues_and_topologies_together_and_ours_first() -> None:
    ours = [own("Queue", "team", parent="department"), own("Topology", "dc", levels=[{"label": "own"}])]
    found = mixed([*objects(KAI), *objects(VOLCANO + NODES), *objects(KUEUE), *ours])
    queues = queues_from(found.queues)
    assert not queues.problems
    assert {(queue.name, queue.parent) for queue in queues.tree} == {
        ("department", None),
        ("team", "department"),
        ("org", None),
        ("division", None),
        ("team-cohort", "division"),
        ("user-queue", "team"),
        ("default.team", "team"),
        ("lone", None),
        ("default.lone", "lone"),
    }
    topologies = topologies_from(found.topologies).topologies
    assert {name: topology.levels[0].label for name, topology in topologies.items()} == {
        "dc": "own",
        "fabric": "zone",
        "hypernodes": "quartermaster.dev/hypernode-tier-2",
    }
    assert found.node_labels["n0"] == {
        "quartermaster.dev/hypernode-tier-1": "s0",
        "quartermaster.dev/hypernode-tier-2": "s2",
    }


def test_a_name_means_what_it_means_in_its_namespace() -> None:
    found = mixed(objects(KUEUE))
    assert found.queue("default", namespace="a") == "default.team"
    assert found.queue("default", namespace="b") == "default.lone"
    assert found.queue("user-queue", namespace="ml") == "user-queue"
    assert found.queue("lone", namespace="c") == "lone"


def test_the_age_of_a_queue_is_that_of_the_peers() -> None:
    values = objects(KAI)
    values[0]["metadata"]["creationTimestamp"] = "2026-11-28T06:00:00Z"
    tree = queues_from(mixed(values).queues).tree
    assert (tree["department"].created, tree["team"].created) == (1_795_845_600.0, 0.0)


def test_every_kind_that_is_translated_is_read() -> None:
    read = {
        (value["apiVersion"].partition("/")[0], value["kind"])
        for text in (KAI, VOLCANO, KUEUE)
        for value in objects(text)
    }
    not_for_deciding = {"PodGroup", "SchedulingShard", "WorkloadPriorityClass"}
    assert {(group, kind) for group, kind, _ in KINDS} == {one for one in read if one[1] not in not_for_deciding}
