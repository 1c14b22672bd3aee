"""Queue objects as a tree, and that nothing in them breaks it."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quartermaster.api.queues import Queues, queues_from
from quartermaster.api.reading import Reason
from quartermaster.model.queue import UNLIMITED, Quota
from quartermaster.model.units import GIB

Json = dict[str, Any]


def queue(name: str, **spec: Any) -> Json:
    metadata = {"name": name, "creationTimestamp": "2026-11-28T06:00:00Z", "resourceVersion": "7"}
    return {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "Queue", "metadata": metadata, "spec": spec}


def reasons(queues: Queues) -> dict[str, str]:
    return {name: problem.reason for name, problem in queues.problems.items()}


def test_everything_that_a_queue_can_say() -> None:
    found = queues_from(
        [
            queue("org", gpu={"deserved": "unlimited"}),
            queue(
                "team",
                parent="org",
                priority=7,
                gpu={"deserved": "2500m", "limit": 8, "weight": 3},
                gpuModels={"H100": {"deserved": 2}},
                cpu={"deserved": "1500m", "limit": "64"},
                memory={"deserved": "512Gi"},
                reclaimMinRuntime="1h30m",
                preemptMinRuntime="0",
            ),
        ]
    )
    assert not found.problems
    team = found.tree["team"]
    assert (team.parent, team.priority, team.created) == ("org", 7, 1_795_845_600.0)
    assert team.quotas == {
        "gpu": Quota(deserved=2.5, limit=8, over_quota_weight=3),
        "gpu/H100": Quota(deserved=2),
        "cpu": Quota(deserved=1500, limit=64_000),
        "memory": Quota(deserved=512 * GIB),
    }
    assert (team.reclaim_min_runtime, team.preempt_min_runtime) == (5400.0, 0.0)


def test_what_is_left_out_has_the_meaning_that_scenario_files_give_it() -> None:
    tree = queues_from([queue("a")]).tree
    assert tree["a"].parent is None
    assert tree["a"].quota("gpu") == Quota()
    assert tree["a"].quota("cpu") == tree["a"].quota("memory") == Quota(deserved=UNLIMITED)


def test_no_queues_are_one_that_deserves_everything() -> None:
    found = queues_from([])
    assert [one.name for one in found.tree] == ["default"]
    assert math.isinf(found.tree["default"].quota("gpu").deserved)


def test_a_queue_that_cannot_be_read_takes_those_below_it_along_and_no_others() -> None:
    found = queues_from(
        [
            queue("bad", gpu={"deserved": 8, "limit": 4}),
            queue("below", parent="bad"),
            queue("further", parent="below"),
            queue("typed", gpu={"limit": "lots"}),
            queue("good"),
        ]
    )
    assert [one.name for one in found.tree] == ["good"]
    assert reasons(found) == {
        "bad": Reason.INVALID_SPEC,
        "typed": Reason.INVALID_SPEC,
        "below": Reason.PARENT_NOT_READY,
        "further": Reason.PARENT_NOT_READY,
    }
    assert "spec.gpu.limit" in found.problems["typed"].message
    assert "'below'" in found.problems["further"].message


def test_an_unknown_parent_is_said_where_it_is_named() -> None:
    found = queues_from([queue("a", parent="gone"), queue("b", parent="a"), queue("c")])
    assert reasons(found) == {"a": Reason.PARENT_NOT_FOUND, "b": Reason.PARENT_NOT_READY}
    assert "'gone'" in found.problems["a"].message
    assert [one.name for one in found.tree] == ["c"]


def test_a_circle_is_told_from_what_hangs_on_it() -> None:
    circle = [queue("a", parent="b"), queue("b", parent="c"), queue("c", parent="a")]
    found = queues_from([queue("tail", parent="a"), *circle, queue("own", parent="own"), queue("good")])
    assert reasons(found) == {
        "tail": Reason.PARENT_NOT_READY,
        **dict.fromkeys("abc", Reason.PARENT_CYCLE),
        "own": Reason.PARENT_CYCLE,
    }
    assert "a -> b -> c -> a" in found.problems["b"].message
    assert [one.name for one in found.tree] == ["good"]


def test_promises_beyond_the_parents_own_are_told_and_allowed() -> None:
    found = queues_from(
        [
            queue("org", gpu={"deserved": 8}),
            queue("a", parent="org", gpu={"deserved": 6}),
            queue("b", parent="org", gpu={"deserved": 3}),
        ]
    )
    assert len(found.tree) == 3
    assert found.overcommitted == {"org": "gpu: the queues below deserve 9 together, and it 8"}


_NAMES = st.sampled_from("abcdef")
_WRONG = st.sampled_from([{}, {"gpu": {"deserved": 2, "limit": 1}}, {"gpu": 3}, {"priority": "high"}, {"cpu": None}])


@given(st.lists(st.tuples(_NAMES, st.none() | st.sampled_from("abcdefg"), _WRONG), max_size=8))
def test_every_queue_is_either_in_the_tree_or_has_a_problem(drawn: list[tuple[str, str | None, Json]]) -> None:
    objects = [queue(name, **({} if parent is None else {"parent": parent}), **spec) for name, parent, spec in drawn]
    found = queues_from(objects)
    if objects:
        in_tree = {one.name for one in found.tree}
        assert in_tree | found.problems.keys() == {value["metadata"]["name"] for value in objects}
        assert not in_tree & found.problems.keys()
