"""The table covers what it says, and its rows mean what they say."""

import re
from collections import Counter

import pytest

from tests.differential.golden import load
from tests.differential.table import PATCHES, Request, _expand, _request, fill, stories

REQUESTS = [(story, request) for story in stories() for request in story.requests]


def test_it_is_a_large_table() -> None:
    assert len(REQUESTS) >= 400


def test_every_verb_is_asked_for_often() -> None:
    count = Counter(request.stream or request.method for _, request in REQUESTS)
    for verb, least in {
        "GET": 300,
        "POST": 300,
        "PUT": 50,
        "PATCH": 200,
        "DELETE": 100,
        "watch": 50,
        "read": 4,
    }.items():
        assert count[verb] >= least, verb
    types = Counter(request.headers.get("Content-Type") for _, request in REQUESTS if request.method == "PATCH")
    for name, content_type in PATCHES.items():
        assert types[content_type] >= 40, name


def test_every_kind_that_we_use_is_created() -> None:
    created = {
        answer["body"].get("kind")
        for answers in load()[1].values()
        for answer in answers.values()
        if answer["status"] == 201 and isinstance(answer["body"], dict)
    }
    assert created >= {
        *("Namespace", "Pod", "Node", "ConfigMap", "Secret", "Service", "ServiceAccount", "Event", "ResourceQuota"),
        *("LimitRange", "Lease", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"),
        *("PodDisruptionBudget", "PriorityClass", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"),
        *("CustomResourceDefinition", "Queue", "SelfSubjectAccessReview", "ResourceClaim", "ResourceSlice"),
    }


def test_every_error_that_clients_handle_is_provoked() -> None:
    statuses = Counter(answer["status"] for answers in load()[1].values() for answer in answers.values())
    for status in (400, 401, 403, 404, 405, 406, 409, 415, 422, 429):
        assert statuses[status] > 0, status
    expired = [
        event for answers in load()[1].values() for answer in answers.values() for event in answer.get("events", [])
    ]
    assert any(event["type"] == "ERROR" and event["object"]["code"] == 410 for event in expired)


def test_no_answer_in_the_recording_was_late() -> None:
    for answers in load()[1].values():
        for name, answer in answers.items():
            assert answer["status"] > 0, name
            types = [event["type"] for event in answer.get("events", [])]
            assert not [kind for kind in types if kind.startswith("<")], name


def test_nothing_of_one_run_is_left_in_the_recording() -> None:
    text = repr(load()[1])
    assert not re.search(r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-", text), "a uid"
    assert not re.search(r"202[5-9]-\d\d-\d\dT", text), "a time"
    assert not re.search(r"127\.0\.0\.1:\d", text), "an address"


def test_variables_go_in_at_any_depth_and_whole() -> None:
    variables = {"a": "x", "b": {"c": [1]}}
    assert fill({"k-$a": ["$a/$a", "$b", "$patch", 5]}, variables) == {"k-x": ["x/x", {"c": [1]}, "$patch", 5]}
    assert fill({"a": 1, "...": "$b"}, variables) == {"a": 1, "c": [1]}


def test_a_story_is_told_once_per_variant() -> None:
    document = {
        "story": "s",
        "about": "",
        "with": [{"id": "a"}, {"id": "b"}],
        "vars": {"path": "/x/$id", "deep": "$path/y"},
        "requests": [{"name": "n", "get": "$deep"}],
    }
    told = list(_expand(document))
    assert [story.name for story in told] == ["s-a", "s-b"]
    assert [fill(story.requests[0].path, story.variables) for story in told] == ["/x/a/y", "/x/b/y"]


def test_a_row_says_one_thing() -> None:
    assert _request({"name": "n", "delete": "/x"}, where="s") == Request(name="n", method="DELETE", path="/x")
    for row in ({"name": "n"}, {"name": "n", "get": "/", "put": "/"}, {"name": "n", "get": "/", "bodi": {}}):
        with pytest.raises(ValueError, match="s/n"):
            _request(row, where="s")
