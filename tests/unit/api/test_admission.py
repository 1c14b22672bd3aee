"""What the webhook answers."""

from typing import Any

import pytest

from quartermaster.api.admission import Known, review
from quartermaster.model.errors import InvalidInput

Json = dict[str, Any]


def queue(name: str, status: Json | None = None, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": spec, "status": status or {}}


TREE = (
    queue("org", gpu={"deserved": 8}),
    queue("team", parent="org", gpu={"deserved": 4}, status={"runningGroups": 1}),
    queue("lost", parent="gone"),
)
FABRIC: Json = {"metadata": {"name": "fabric"}, "spec": {"levels": [{"label": "rack"}]}}


def answer(value: Json, kind: str = "Queue", *, queues: tuple[Json, ...] = TREE) -> tuple[bool, str, list[str]]:
    body = {"request": {"uid": "u", "kind": {"kind": kind}, "operation": "CREATE", "object": value}}
    said = review(body, Known(queues=queues, topologies=[FABRIC]))
    response = said["response"]
    assert (said["kind"], response["uid"]) == ("AdmissionReview", "u")
    return response["allowed"], response.get("status", {}).get("message", ""), response.get("warnings", [])


def test_a_queue_with_nothing_wrong() -> None:
    assert answer(queue("more", parent="org", gpu={"deserved": 4})) == (True, "", [])
    assert answer(queue("team", parent="org", gpu={"deserved": 1, "limit": 2})) == (True, "", [])


def test_a_circle_is_refused() -> None:
    allowed, said, _ = answer(queue("org", parent="team"))
    assert not allowed
    assert "org -> team -> org" in said or "team -> org -> team" in said
    assert not answer(queue("own", parent="own"))[0]
    assert not answer(queue("gone", parent="lost"))[0], "the missing parent would close the circle"


def test_what_is_in_use_is_not_put_out_of_use() -> None:
    allowed, said, _ = answer(queue("org", parent="nowhere"))
    assert not allowed
    assert "out of use that are in use (org, team)" in said
    assert "'nowhere'" in said
    assert not answer(queue("org", gpu={"deserved": 4, "limit": 2}))[0]


def test_what_may_come_right_by_itself_is_told() -> None:
    allowed, _, (warning,) = answer(queue("early", parent="later"))
    assert allowed
    assert "'early' is not in use until this is mended" in warning
    assert answer(queue("lost", parent="gone", priority=3))[0], "it was not in use before"
    _, _, (warning,) = answer(queue("more", parent="org", gpu={"deserved": 5}))
    assert warning == "queue 'org': gpu: the queues below deserve 9 together, and it 8"
    _, _, (warning,) = answer(queue("below", parent="team"))
    assert "'team' has groups of its own" in warning
    _, _, (warning,) = answer(queue("first"), queues=())
    assert "'default', which there is while there are none, is gone" in warning
    assert answer(queue("default"), queues=()) == (True, "", [])


def test_pod_groups() -> None:
    def group(**spec: Any) -> Json:
        return {"metadata": {"generateName": "g-"}, "spec": spec}

    near = {"topology": "fabric", "required": "rack"}
    assert answer(group(queue="team", min=2, topology=near), "PodGroup") == (True, "", [])
    circle = [{"name": "a", "parent": "b", "min": 1}, {"name": "b", "parent": "a"}]
    allowed, said, _ = answer(group(queue="team", subGroups=circle), "PodGroup")
    assert (allowed, "is its own ancestor" in said) == (False, True)
    allowed, said, _ = answer(group(queue="team", min=2, subGroups=[{"name": "a", "min": 1}]), "PodGroup")
    assert (allowed, "2 of 1 sub-groups" in said) == (False, True)
    for spec, part in (
        ({"queue": "none"}, "there is no queue 'none'"),
        ({"queue": "org"}, "name one of: team"),
        ({"queue": "team", "topology": {"topology": "x", "required": "rack"}}, "there is no topology 'x'"),
        ({"queue": "team", "topology": {"topology": "fabric", "required": "row"}}, "level 'row'"),
    ):
        allowed, _, (warning,) = answer(group(min=1, **spec), "PodGroup")
        assert allowed
        assert part in warning


def test_what_is_not_understood_passes() -> None:
    assert answer({"metadata": {"name": "x"}}, "Budget") == (True, "", [])
    delete = {"request": {"uid": "u", "kind": {"kind": "Queue"}, "object": None}}
    assert review(delete, Known(queues=TREE, topologies=()))["response"] == {"uid": "u", "allowed": True}
    with pytest.raises(InvalidInput, match="no AdmissionReview"):
        review({"kind": "Queue"}, Known(queues=(), topologies=()))
