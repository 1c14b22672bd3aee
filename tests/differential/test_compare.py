"""Differences are found, named by where they are, and agreed to only with a reason."""

import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.compare import ABSENT, Accepted, Difference, compare, load_accepted, split
from tests.differential.protobuf import describe
from tests.differential.suite import ACCEPTED, stories

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "type", "a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(left: Any, right: Any) -> list[str]:
    return [difference.place for difference in compare("s", {"r": left}, {"r": right})]


@given(JSON)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert places(value, value) == []


@given(JSON, JSON)
def test_something_differs_where_two_values_do(left: Any, right: Any) -> None:
    assert bool(places(left, right)) == (repr(sorted_deep(left)) != repr(sorted_deep(right)))


def sorted_deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    return [sorted_deep(item) for item in value] if isinstance(value, list) else value


def test_types_matter() -> None:
    assert places({"a": 1}, {"a": True}) == ["a"]
    assert places({"a": 1}, {"a": "1"}) == ["a"]
    assert places({"a": None}, {}) == ["a"]
    assert places({"a": []}, {"a": {}}) == ["a"]


def test_named_entries_are_compared_by_name_and_their_order_once() -> None:
    left = {"c": [{"name": "x", "v": 1}, {"name": "y"}]}
    assert places(left, {"c": [{"name": "y"}]}) == ["c[x]"]
    assert places(left, {"c": [{"name": "y"}, {"name": "x", "v": 2}]}) == ["c[x].v", "c[order]"]
    assert places({"i": [{"metadata": {"name": "x"}}]}, {"i": [{"metadata": {"name": "z"}}]}) == ["i[x]", "i[z]"]


def test_other_lists_are_compared_by_position() -> None:
    assert places([1, 2, 3], [1, 3]) == ["[1]", "[2]"]


def test_a_missing_request_is_a_difference() -> None:
    found = compare("s", {"r": {"status": 200}}, {})
    assert [(item.where, item.place, item.got) for item in found] == [("s/r", "answer", ABSENT)]


def test_an_agreement_covers_what_it_names_and_nothing_else() -> None:
    entry = Accepted(stories=("kinds-*", "pods/get"), places=("body.resources[*].verbs**",), reason="why")
    other = Accepted(stories=("*",), places=("body.*",), reason="why")

    def at(where: str, place: str) -> Difference:
        return Difference(where=where, place=place, expected=1, got=2)

    assert entry.covers(at("kinds-pods/get", "body.resources[pods].verbs[0]"))
    assert entry.covers(at("pods/get", "body.resources[pods].verbs"))
    assert not entry.covers(at("pods/list", "body.resources[pods].verbs"))
    assert not entry.covers(at("kinds-pods/get", "body.resources[a.b].verbs"))
    assert other.covers(at("x/y", "body.kind"))
    assert not other.covers(at("x/y", "body.spec.kind"))
    rest, counts = split([at("pods/get", "body.kind"), at("x/y", "status")], [entry, other])
    assert [item.place for item in rest] == ["status"]
    assert counts == {entry: 0, other: 1}


def test_an_agreement_needs_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text("- {stories: [a], places: [b], reason: ''}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="reason"):
        load_accepted(path)
    path.write_text("[]\n", encoding="utf-8")
    assert load_accepted(path) == ()


def test_every_agreement_is_about_the_table() -> None:
    names = [story.name for story in stories()]
    names += [f"{story.name}/{request.name}" for story in stories() for request in story.requests]
    for entry in load_accepted(ACCEPTED):
        for glob in entry.stories:
            assert fnmatch.filter(names, glob), glob


def test_the_envelope_of_protobuf_is_read() -> None:
    content = b"k8s\x00" + b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap" + b"\x12\x02\x0a\x00" + b"\x1a\x00" + b"\x22\x00"
    assert describe(content) == {"apiVersion": "v1", "kind": "ConfigMap", "has object": True, "contentType": ""}
    assert describe(b"{}") == {"envelope": "<no magic bytes>"}
