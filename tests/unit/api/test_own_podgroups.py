"""PodGroup objects: what contradicts itself, and what names things that are not there."""

from typing import Any

import pytest

from quartermaster.api import v1alpha1
from quartermaster.api.podgroups import check, missing
from quartermaster.api.reading import Reason, read
from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import Queue, QueueTree
from quartermaster.model.topology import Level, Topology

Json = dict[str, Any]
ONE = {"name": "a", "min": 1}


def group(**spec: Any) -> v1alpha1.PodGroup:
    return read({"metadata": {"name": "g", "namespace": "ml"}, "spec": spec}, v1alpha1.PodGroup)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "min: is missing"),
        ({"subGroups": [ONE, ONE]}, "spec.subGroups[1].name: 'a' twice"),
        ({"subGroups": [ONE | {"parent": "x"}]}, "there is no 'x'"),
        ({"subGroups": [ONE, {"name": "x", "parent": "y"}, {"name": "y", "parent": "x"}]}, "is its own ancestor"),
        ({"subGroups": [ONE], "min": 2}, "2 of 1 sub-groups"),
        ({"subGroups": [{"name": "a"}]}, "min of sub-group 'a': is missing"),
    ],
)
def test_what_contradicts_itself_says_where(spec: Json, said: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        check(group(**spec))
    assert said in str(wrong.value)


def test_trees_that_make_sense() -> None:
    check(group(min=3))
    parts = [{"name": "w", "min": 1}, {"name": "w0", "parent": "w", "min": 2}, {"name": "w1", "parent": "w", "min": 2}]
    check(group(subGroups=[*parts, ONE], min=2))


def test_what_a_gang_has_to_find() -> None:
    tree = QueueTree([Queue(name="org"), Queue(name="team", parent="org")])
    fabric = Topology(name="fabric", levels=(Level(label="zone"), Level(label="rack")))

    def verdict(queue: str, topology: str = "", level: str = "rack") -> Reason | None:
        near = {"topology": {"topology": topology, "required": level}} if topology else {}
        part = ONE | near
        found = missing(group(queue=queue, subGroups=[part]), queues=tree, topologies={"fabric": fabric})
        return found and found.reason

    assert verdict("team", "fabric") is None
    assert verdict("gone") == Reason.QUEUE_NOT_FOUND
    assert verdict("org") == Reason.QUEUE_NOT_LEAF
    assert verdict("team", "other") == Reason.TOPOLOGY_NOT_FOUND
    assert verdict("team", "fabric", "row") == Reason.TOPOLOGY_NOT_FOUND
