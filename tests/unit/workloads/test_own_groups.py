"""PodGroups of ours: pods name them by a label, with or without an object of that name."""

import math
from typing import Any

from quartermaster.workloads.external import OWN
from quartermaster.workloads.grouping import groups_of
from quartermaster.workloads.members import membership

Json = dict[str, Any]


def pod(name: str, part: str = "", **annotations: str) -> Json:
    labels = {"quartermaster.dev/pod-group": "g"} | ({"quartermaster.dev/sub-group": part} if part else {})
    metadata = {"name": name, "namespace": "team", "uid": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}


def group(**spec: Any) -> Json:
    metadata = {"name": "g", "namespace": "team", "uid": "u"}
    return {"apiVersion": f"{OWN}/v1alpha1", "kind": "PodGroup", "metadata": metadata, "spec": spec}


def looking(value: Json) -> Any:
    def lookup(api: str, kind: str, namespace: str, name: str) -> Json | None:
        return value if (api, kind, namespace, name) == (OWN, "PodGroup", "team", "g") else None

    return lookup


def test_an_object_says_how_many_start_together_and_all_else() -> None:
    topology = {"topology": "network", "required": "rack"}
    value = group(
        min=4, queue="research", priorityClassName="inference", topology=topology, stalenessGrace="never", runtime="2h"
    )
    member = membership(pod("a"), lookup=looking(value))
    found = member.group
    assert (found.key, found.min, found.queue, found.priority_class) == ("team/PodGroup/g", 4, "research", "inference")
    assert found.topology is not None
    assert (found.topology.topology, found.topology.required) == ("network", "rack")
    assert (found.staleness_grace, found.runtime) == (math.inf, 7200.0)


def test_pods_find_their_sub_group_at_any_depth() -> None:
    value = group(
        subGroups=[
            {"name": "prefill", "min": 1},
            {"name": "decode"},
            {"name": "leader", "parent": "decode", "min": 1},
            {"name": "workers", "parent": "decode", "min": 3},
        ]
    )
    found = {part: membership(pod(part, part), lookup=looking(value)) for part in ("prefill", "leader", "workers")}
    assert {part: member.role for part, member in found.items()} == {
        "prefill": ("prefill",),
        "leader": ("decode", "leader"),
        "workers": ("decode", "workers"),
    }
    assert {member.group.min for member in found.values()} == {5}


def test_a_minimum_of_sub_groups_counts_those_right_below() -> None:
    (found,) = groups_of(group(min=1, subGroups=[{"name": "a", "min": 2}, {"name": "b", "min": 5}]))
    assert found.min == 2


def test_a_name_without_an_object_joins_pods_that_say_it() -> None:
    found = membership(pod("a", **{"quartermaster.dev/min-member": "3"}))
    assert (found.group.key, found.group.min, found.group.open) == ("team/PodGroup/g", 3, False)
    assert membership(pod("a")).group.open


def test_a_sub_group_that_is_its_own_ancestor_is_needed_all_the_same() -> None:
    parts = [{"name": "a", "min": 2}, {"name": "x", "parent": "y", "min": 3}, {"name": "y", "parent": "x", "min": 1}]
    (found,) = groups_of(group(subGroups=parts))
    assert found.min == 6
