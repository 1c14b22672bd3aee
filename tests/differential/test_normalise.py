"""What is masked, and that nothing that a client could act upon is."""

import datetime as dt
from typing import Any

from tests.differential.client import Answer
from tests.differential.normalise import normalise
from tests.differential.table import Request, Story

NOW = dt.datetime(2030, 5, 1, 12, 0, tzinfo=dt.UTC)
UID, OTHER = "11111111-2222-4333-8444-555555555555", "aaaaaaaa-2222-4333-8444-555555555555"


def masked(*bodies: Any, generate: str | None = None, story: str = "s") -> list[Any]:
    request = Request(name="r", method="POST", path="/", body={"metadata": {"generateName": generate}})
    told = Story(name=story, about="", variables={}, requests=(request,))
    answers = {str(index): Answer(status=200, body=body) for index, body in enumerate(bodies)}
    return [answer["body"] for answer in normalise(answers, story=told, now=NOW).values()]


def thing(version: int, **metadata: Any) -> dict[str, Any]:
    created = "2030-05-01T11:59:00Z"
    return {"metadata": {"name": "a", "resourceVersion": str(version), "creationTimestamp": created, **metadata}}


def versions(*bodies: Any) -> list[str]:
    return [body["metadata"]["resourceVersion"] for body in masked(*bodies)]


def test_versions_keep_their_order_and_not_their_values() -> None:
    assert versions(thing(700), thing(90), thing(700), thing(1000)) == ["<rv a 2>", "<rv a 1>", "<rv a 2>", "<rv a 3>"]


def test_versions_are_counted_within_a_name() -> None:
    assert versions(thing(5), thing(6, name="b"), thing(9)) == ["<rv a 1>", "<rv b 1>", "<rv a 2>"]


def test_a_list_is_as_new_as_the_newest_object_that_it_can_show() -> None:
    listed = {"kind": "List", "metadata": {"resourceVersion": "95"}, "items": [thing(90)]}
    early = {"metadata": {"resourceVersion": "5"}, "items": []}
    assert versions(thing(100, name="b"), listed, early) == ["<rv b 1>", "<from rv a 1>", "<from the start>"]


def test_the_same_uid_stays_the_same_everywhere_and_is_known_by_its_object() -> None:
    other = "00000000-0000-4000-8000-000000000000"
    bodies = {"message": f"not {UID}"}, thing(1, uid=UID), {"a": thing(1, uid=OTHER), "uids": [OTHER, other, UID]}
    first, second, third = masked(*bodies)
    assert first == {"message": "not <uid a 1>"}
    assert second["metadata"]["uid"] == "<uid a 1>"
    assert third["a"]["metadata"]["uid"] == "<uid a 2>"
    assert third["uids"] == ["<uid a 2>", "<uid of nothing 1>", "<uid a 1>"]


def test_only_times_near_now_are_masked_and_their_precision_stays() -> None:
    body = ["2030-05-01T11:00:00Z", "2030-05-01T11:00:00.123456Z", "2020-01-01T00:00:00Z", "since 2030-04-30T23:00:00Z"]
    assert masked(body) == [["<time>", "<time.6>", "2020-01-01T00:00:00Z", "since <time>"]]


def test_generated_names_are_numbered_also_within_messages() -> None:
    body = {
        "name": "job-abcde",
        "other": "job-xwvts",
        "message": 'pods "job-abcde-0" and "my-job-abcde"',
        "short": "job-abc",
    }
    # a, e, i, o, u never occur in generated suffixes
    assert masked(body, generate="job-")[0]["name"] == "job-abcde"
    assert masked({"a": "job-bcdfg", "b": "see job-bcdfg", "c": "job-zzzzz", "d": "my-job-bcdfg"}, generate="job-") == [
        {"a": "<job-* 1>", "b": "see <job-* 1>", "c": "<job-* 2>", "d": "my-job-bcdfg"}
    ]


def test_addresses_of_services_are_numbered_and_others_stay() -> None:
    assert masked(["10.96.4.7", "10.96.0.1", "10.96.4.7", "10.1.0.1"]) == [["<ip 1>", "<ip 2>", "<ip 1>", "10.1.0.1"]]


def test_ages_are_masked_also_in_later_tables_of_a_stream() -> None:
    columns = [{"name": "Name"}, {"name": "Age"}]
    first = {"columnDefinitions": columns, "rows": [{"cells": ["a", "3s"]}]}
    later = {"columnDefinitions": None, "rows": [{"cells": ["3s", "4s"]}, {"cells": ["b", "<unknown>"]}]}
    assert [body["rows"] for body in masked(first, later)] == [
        [{"cells": ["a", "<age>"]}],
        [{"cells": ["3s", "<age>"]}, {"cells": ["b", "<unknown>"]}],
    ]


def test_managers_are_put_in_one_order() -> None:
    a, b = {"manager": "a", "operation": "Update"}, {"manager": "b", "operation": "Apply"}
    assert masked(thing(1, managedFields=[b, a])) == masked(thing(1, managedFields=[a, b]))
    assert masked(thing(1, managedFields=[b])) != masked(thing(1, managedFields=[a, b]))


def test_groups_of_other_stories_are_not_shown() -> None:
    groups: list[dict[str, Any]] = [
        {"name": name, "versions": []} for name in ("apps", "mine.example.dev", "other.example.dev")
    ]
    body = {"groups": groups, "paths": {"apis/other.example.dev/v1": {}, "apis/apps/v1": {}}}
    shown = masked(body, story="mine")[0]
    assert [group["name"] for group in shown["groups"]] == ["apps", "mine.example.dev"]
    assert list(shown["paths"]) == ["apis/apps/v1"]


def test_ports_given_by_the_server_are_masked_and_asked_ones_stay() -> None:
    assert masked({"nodePort": 31234, "port": 80, "cells": ["80:31234/TCP"]}) == [
        {"nodePort": "<port>", "port": 80, "cells": ["80:<port>/TCP"]}
    ]


def test_a_table_that_is_wrong_is_no_reason_to_stop() -> None:
    body = {"columnDefinitions": [{"name": "Age"}], "rows": [{"cells": ["1s", 2]}, {}]}
    assert masked(body)[0]["rows"] == [{"cells": ["<age>", 2]}, {"cells": []}]


def test_zero_and_false_and_empty_are_not_nothing() -> None:
    assert masked({"a": 0, "b": False, "c": "", "d": None, "e": [], "f": {}}) == [
        {"a": 0, "b": False, "c": "", "d": None, "e": [], "f": {}}
    ]
