"""The functions by themselves: objects in, writes out; nothing runs."""

from typing import Any

import pytest

from quartermaster.local.controllers import nodefit, pods, replicaset, scaling
from quartermaster.local.controllers.objects import PODS, REPLICA_SETS, Json, Objects, changed
from quartermaster.local.controllers.registry import CONTROLLERS
from quartermaster.local.controllers.writes import Create, Delete, Update

NOW = 1_000_000.0


def a_set(**spec: Any) -> Json:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main"}]}}
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 1, "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def a_pod(name: str, *, node: str = "n", phase: str = "Running", ready: bool = True, **metadata: Any) -> Json:
    owner = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "web", "uid": "set", "controller": True}
    about = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1", "labels": {"app": "web"}}
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "1970-01-12T13:00:00Z"}
    return {
        "metadata": about | {"ownerReferences": [owner]} | metadata,
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": [condition]},
    }


@pytest.mark.parametrize(
    ("replicas", "there", "creates", "deletes"),
    [
        (3, [], 3, []),
        (1, [a_pod("a"), a_pod("b", ready=False)], 0, ["b"]),
        (1, [a_pod("a"), a_pod("b", node="")], 0, ["b"]),
        (1, [a_pod("a"), a_pod("b", phase="Pending", ready=False)], 0, ["b"]),
        (2, [a_pod("a"), a_pod("b", phase="Failed")], 1, []),
        (1, [a_pod("a"), a_pod("b", deletionTimestamp="1970-01-12T13:46:40Z")], 0, []),
        (1, [a_pod("a", annotations={"controller.kubernetes.io/pod-deletion-cost": "-1"}), a_pod("b")], 0, ["a"]),
        (2, [a_pod("a"), a_pod("b", node="m"), a_pod("c", node="m")], 0, ["b"]),
        (0, [a_pod("a")], 0, ["a"]),
    ],
)
def test_a_replica_set_creates_and_deletes(replicas: int, there: list[Json], creates: int, deletes: list[str]) -> None:
    objects = Objects([(REPLICA_SETS, a_set(replicas=replicas)), *((PODS, pod) for pod in there)])
    outcome = replicaset.reconcile(objects, ("default", "web"), NOW)
    assert sum(isinstance(write, Create) for write in outcome.writes) == creates
    gone = [write.value["metadata"]["name"] for write in outcome.writes if isinstance(write, Delete)]
    assert gone == deletes


def test_what_becomes_available_is_looked_at_then() -> None:
    since = pods.available_at(a_pod("a"), 10)
    assert since is not None
    objects = Objects([(REPLICA_SETS, a_set(replicas=1, minReadySeconds=10)), (PODS, a_pod("a"))])
    early = replicaset.reconcile(objects, ("default", "web"), since - 3)
    assert early.again == since
    late = replicaset.reconcile(objects, ("default", "web"), since)
    assert late.again is None
    (told,) = [write.value["status"] for write in late.writes if isinstance(write, Update)]
    assert told["availableReplicas"] == 1


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: controller.name)
def test_a_controller_of_nothing_writes_nothing(controller: Any) -> None:
    outcome = controller.reconcile(Objects(), ("default", "web"), NOW)
    assert (outcome.writes, outcome.again) == ((), None)


def test_objects_are_found_by_who_controls_them() -> None:
    objects = Objects([(PODS, a_pod("a")), (PODS, a_pod("b"))])
    orphan = changed(a_pod("a"))
    del orphan["metadata"]["ownerReferences"]
    objects.put(PODS, orphan)
    assert [pod["metadata"]["name"] for pod in objects.children(PODS, "default", "set")] == ["b"]
    assert [pod["metadata"]["name"] for pod in objects.children(PODS, "default", "")] == ["a"]
    objects.drop(PODS, ("default", "b"))
    assert objects.children(PODS, "default", "set") == []
    assert [pod["metadata"]["name"] for pod in objects.on_node("n")] == ["a"]


@pytest.mark.parametrize(
    ("value", "total", "up", "number"),
    [(3, 10, True, 3), ("25%", 10, True, 3), ("25%", 10, False, 2), ("100%", 7, True, 7), ("0%", 7, True, 0)],
)
def test_shares_are_rounded_as_said(value: int | str, total: int, number: int, *, up: bool) -> None:
    assert scaling.resolve(value, total, up=up) == number


@pytest.mark.parametrize(
    ("old", "new", "replicas", "unavailable", "left"),
    [
        ([(4, 4)], (1, 0), 4, 0, [4]),
        ([(4, 4)], (1, 1), 4, 0, [3]),
        ([(4, 4)], (1, 0), 4, 1, [3]),
        ([(4, 2)], (1, 0), 4, 1, [3]),
        ([(2, 0), (3, 3)], (1, 1), 4, 1, [0, 2]),
        ([(3, 3), (3, 3)], (0, 0), 4, 2, [0, 2]),
        ([], (4, 0), 4, 1, []),
    ],
)
def test_old_sets_shrink_by_what_may_be_missing(
    old: list[tuple[int, int]], new: tuple[int, int], replicas: int, unavailable: int, left: list[int]
) -> None:
    sizes = [scaling.Size(*size) for size in old]
    assert scaling.of_old(sizes, scaling.Size(*new), replicas=replicas, unavailable=unavailable) == left


def term(operator: str, *values: str, key: str = "zone") -> Json:
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator, "values": [*values]}]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        (term("In", "a", "b"), True),
        (term("NotIn", "a"), False),
        (term("Exists"), True),
        (term("DoesNotExist"), False),
        (term("Gt", "3", key="cores"), True),
        (term("Lt", "3", key="cores"), False),
        ({"nodeName": "other"}, False),
    ],
)
def test_a_pod_wants_a_node_or_not(spec: Json, *, fits: bool) -> None:
    node = {"metadata": {"name": "n", "labels": {"zone": "a", "cores": "8"}}}
    assert nodefit.wants(spec, node) is fits
