"""PodGroup objects and their pods as gangs."""

from typing import Any

from quartermaster.api.podgroups import PriorityClass, group_from, unplaceable
from quartermaster.api.reading import Problem, Reason
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.podgroup import PodGroup, SubGroup
from quartermaster.model.queue import Queue, QueueTree
from quartermaster.model.topology import Level, Topology, TopologyConstraint

Json = dict[str, Any]

CLASSES = {"train": PriorityClass(50), "inference": PriorityClass(125), "meek": PriorityClass(60, may_preempt=False)}


def value(status: Json | None = None, **spec: Any) -> Json:
    metadata = {"name": "g", "namespace": "ml", "creationTimestamp": "2026-11-28T06:00:00Z"}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def pods(count: int, of: str = "p", priority: int | None = None) -> tuple[Pod, ...]:
    return tuple(Pod(f"ml/{of}-{number}", PodSpec(cpu=1000), priority=priority) for number in range(count))


def group(given: Json, **there: tuple[Pod, ...]) -> PodGroup:
    made = group_from(given, {name.strip("_"): some for name, some in there.items()}, classes=CLASSES)
    assert isinstance(made, PodGroup), made
    return made


def problem(given: Json, **there: tuple[Pod, ...]) -> Problem:
    made = group_from(given, {name.strip("_"): some for name, some in there.items()}, classes=CLASSES)
    assert isinstance(made, Problem), made
    return made


def test_a_flat_gang_with_all_that_it_can_say() -> None:
    made = group(
        value(
            {"started": "2026-11-28T06:01:00Z", "lastEvicted": "2026-11-28T06:00:30Z"},
            queue="team",
            min=2,
            priorityClassName="inference",
            preemptible=True,
            preemptionDelay="30s",
            stalenessGrace="never",
            runtime="1d",
            maxRuntime="36h",
            topology={"topology": "fabric", "required": "rack"},
        ),
        _=pods(3),
    )
    near = TopologyConstraint(topology="fabric", required="rack")
    assert made == PodGroup(
        name="ml/g",
        queue="team",
        root=SubGroup(pods=pods(3), min=2, topology=near),
        priority=125,
        created=1_795_845_600.0,
        preemptible=True,
        preemption_delay=30.0,
        staleness_grace=float("inf"),
        runtime=86_400.0,
        max_runtime=129_600.0,
        started=1_795_845_660.0,
        last_evicted=1_795_845_630.0,
    )


def test_priority_comes_from_the_class_else_from_the_pods_else_it_is_the_usual_one() -> None:
    assert group(value(min=1), _=pods(1)).priority == 50
    assert group(value(min=1), _=pods(1, priority=0)).priority == 0
    meek = group(value(min=1, priorityClassName="meek"), _=pods(1, priority=9))
    assert (meek.priority, meek.may_preempt, meek.preemptible) == (60, False, True)
    assert not group(value(min=1, priorityClassName="inference"), _=pods(1)).preemptible
    assert problem(value(min=1, priorityClassName="gone"), _=pods(1)).reason == Reason.PRIORITY_CLASS_NOT_FOUND


def test_a_tree_of_sub_groups() -> None:
    spec: Json = {
        "subGroups": [
            {"name": "w0", "parent": "workers", "min": 2},
            {"name": "driver", "min": 1},
            {"name": "workers", "min": 1, "topology": {"topology": "fabric", "preferred": "rack"}},
            {"name": "w1", "parent": "workers", "min": 2},
        ]
    }
    made = group(value(**spec), driver=pods(1, "d"), w0=pods(2, "w0"), w1=pods(3, "w1"))
    near = TopologyConstraint(topology="fabric", preferred="rack")
    assert made.root == SubGroup(
        min=2,
        children=(
            SubGroup(name="driver", pods=pods(1, "d"), min=1),
            SubGroup(
                name="workers",
                min=1,
                topology=near,
                children=(
                    SubGroup(name="w0", pods=pods(2, "w0"), min=2),
                    SubGroup(name="w1", pods=pods(3, "w1"), min=2),
                ),
            ),
        ),
    )
    fewer = group(value(**spec), driver=pods(1, "d"), w1=pods(2, "w1"))
    assert [leaf.name for leaf in fewer.root.leaves()] == ["driver", "w1"], "one of the workers is enough"
    assert problem(value(**spec), driver=pods(1, "d"), w1=pods(1, "w1")) == (
        Reason.PODS_MISSING,
        "0 of 2 pods of sub-group 'w0' exist",
    )


def test_pods_still_missing() -> None:
    assert problem(value(min=3), _=pods(2)) == (Reason.PODS_MISSING, "2 of 3 pods exist")
    assert problem(value(min=1)) == (Reason.PODS_MISSING, "0 of 1 pods exist")


def test_what_cannot_be_understood_says_where() -> None:
    one = {"name": "a", "min": 1}
    cases: list[tuple[Json, dict[str, tuple[Pod, ...]], str]] = [
        ({}, {"_": pods(1)}, "min: is missing"),
        ({"min": "two"}, {"_": pods(1)}, "spec.min"),
        ({"subGroups": [one, one]}, {"a": pods(1)}, "spec.subGroups[1].name: 'a' twice"),
        ({"subGroups": [one | {"parent": "x"}]}, {"a": pods(1)}, "there is no 'x'"),
        ({"subGroups": [one, {"name": "x", "parent": "y"}, {"name": "y", "parent": "x"}]}, {"a": pods(1)}, "ancestor"),
        ({"subGroups": [one], "min": 2}, {"a": pods(1)}, "2 of 1 sub-groups"),
        ({"subGroups": [one]}, {"a": pods(1), "b": pods(1, "b")}, "names sub-group 'b'"),
        ({"subGroups": [one]}, {"a": pods(1), "_": pods(1, "b")}, "name one of: a"),
        ({"min": 1, "topology": {"topology": "fabric"}}, {"_": pods(1)}, "asks for nothing"),
        ({"min": 1, "runtime": "long"}, {"_": pods(1)}, "spec.runtime"),
    ]
    for spec, there, said in cases:
        found = problem(value(**spec), **there)
        assert found.reason == Reason.INVALID_SPEC
        assert said in found.message


def test_what_a_gang_has_to_find() -> None:
    tree = QueueTree([Queue(name="org"), Queue(name="team", parent="org")])
    fabric = Topology(name="fabric", levels=(Level(label="zone"), Level(label="rack")))
    near = TopologyConstraint(topology="fabric", required="rack")

    def verdict(queue: str, near: TopologyConstraint | None = None) -> Reason | None:
        inner = SubGroup(pods=pods(1), topology=near)
        made = PodGroup(name="g", queue=queue, root=SubGroup(children=(inner,)))
        found = unplaceable(made, queues=tree, topologies={"fabric": fabric})
        return found and found.reason

    assert verdict("team", near) is None
    assert verdict("gone") == Reason.QUEUE_NOT_FOUND
    assert verdict("org") == Reason.QUEUE_NOT_LEAF
    assert verdict("team", TopologyConstraint(topology="other", required="rack")) == Reason.TOPOLOGY_NOT_FOUND
    assert verdict("team", TopologyConstraint(topology="fabric", required="row")) == Reason.TOPOLOGY_NOT_FOUND
