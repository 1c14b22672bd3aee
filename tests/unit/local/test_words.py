"""What the server says of wrong input, in the words of Go: of JSON, times, names and objects that it quotes."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.local.apiserver.codec import encode_yaml, syntax_problem
from quartermaster.local.apiserver.gotime import read_time
from quartermaster.local.apiserver.names import key_problems, label_problems, name_problems, value_problems
from quartermaster.local.apiserver.quoting import go_text, in_go_order, paths_of, sorted_where
from quartermaster.local.apiserver.schemas import Schemas


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a": ', "unexpected end of JSON input"),
        (b'{"a": "b', "unexpected end of JSON input"),
        (b"nope", "invalid character 'n' looking for beginning of value"),
        (b"{a: 1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b": 2}', "invalid character '\"' after object key:value pair"),
        (b'{"a": [1 2]}', "invalid character '2' after array element"),
        (b'{"a": "}"} x', "invalid character 'x' after top-level value"),
        (b"{'a': 1}", "invalid character '\\'' looking for beginning of object key string"),
    ],
)
def test_malformed_json_is_told_as_go_tells_it(raw: bytes, problem: str) -> None:
    assert syntax_problem(raw) == problem


@pytest.mark.parametrize(
    ("text", "micro", "read"),
    [
        ("2020-01-02T03:04:05Z", False, "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05.678Z", False, "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05+02:00", False, "2020-01-02T01:04:05Z"),
        ("2020-01-02T03:04:05.000000Z", True, "2020-01-02T03:04:05.000000Z"),
        ("2020-01-02T03:04:05.000001+01:00", True, "2020-01-02T02:04:05.000001Z"),
    ],
)
def test_times_have_one_form(text: str, micro: bool, read: str) -> None:
    assert read_time(text, micro=micro) == read


@pytest.mark.parametrize(
    ("text", "micro", "problem"),
    [
        ("soon", False, 'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"'),
        ("2020-1-2", False, 'parsing time "2020-1-2" as "2006-01-02T15:04:05Z07:00": cannot parse "1-2" as "01"'),
        ("2020-01-02 03:04:05Z", False, 'cannot parse " 03:04:05Z" as "T"'),
        ("2020-13-02T03:04:05Z", False, 'parsing time "2020-13-02T03:04:05Z": month out of range'),
        ("2020-02-30T03:04:05Z", False, 'parsing time "2020-02-30T03:04:05Z": day out of range'),
        ("2020-01-02T03:04:05", False, 'cannot parse "" as "Z07:00"'),
        ("2020-01-02T03:04:05Zulu", False, 'extra text: "ulu"'),
        ("2020-01-02T03:04:05Z", True, 'cannot parse "Z" as ".000000"'),
        ("2020-01-02T03:04:05.5Z", True, 'cannot parse ".5Z" as ".000000"'),
    ],
)
def test_what_is_no_time_is_refused_by_the_part_that_does_not_fit(text: str, micro: bool, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^parsing time") as refused:
        read_time(text, micro=micro)
    assert str(refused.value).endswith(problem)


@given(st.datetimes(), st.booleans())
def test_every_time_is_read_to_itself(moment: datetime, micro: bool) -> None:
    text = moment.isoformat(timespec="microseconds" if micro else "seconds")
    assert read_time(f"{text}+00:00", micro=micro) == f"{text}Z"


def test_keys_can_be_wrong_in_several_ways() -> None:
    assert [problem[:31] for problem in key_problems("")] == [
        "name part must be non-empty",
        "name part must consist of alpha",
    ]
    assert key_problems("a/b/c")[0].startswith("a valid label key must consist of")
    assert key_problems("A/b")[0].startswith("prefix part a lowercase RFC 1123 subdomain")
    assert key_problems("/b") == ("prefix part must be non-empty",)
    assert key_problems(f"example.dev/{'x' * 64}") == ("name part must be no more than 63 characters",)
    assert not key_problems("example.dev/a.b_c-d")
    assert value_problems("x" * 64) == ("must be no more than 63 characters",)


def test_a_prefix_of_a_name_may_end_in_a_dash() -> None:
    assert not name_problems("configmaps", "made-", prefix=True)
    assert name_problems("configmaps", "made-")
    assert label_problems("a.b") == ("must not contain dots",)
    assert not name_problems("roles.rbac.authorization.k8s.io", "system:a")


def test_objects_are_quoted_in_the_order_of_go() -> None:
    type_ = Schemas().of("/v1/Pod")
    assert type_ is not None
    pod = {
        "spec": {"nodeName": "n", "initContainers": [], "volumes": [], "containers": [{"image": "i", "name": "a"}]},
        "metadata": {"labels": {"b": "1", "a": "2"}, "name": "p"},
    }
    ordered = in_go_order(pod, type_)
    assert list(ordered) == ["metadata", "spec"]
    assert list(ordered["metadata"]) == ["name", "labels"]
    assert list(ordered["metadata"]["labels"]) == ["a", "b"]
    assert list(ordered["spec"]) == ["volumes", "initContainers", "containers", "nodeName"]
    assert list(ordered["spec"]["containers"][0]) == ["name", "image"]


def test_what_a_patch_touches_is_quoted_sorted() -> None:
    value = {"spec": {"b": 1, "a": {"d": 1, "c": 2}}, "metadata": {"z": 1, "y": 2}}
    merged = sorted_where(value, {"spec": {"b": 1}})
    assert list(merged) == ["metadata", "spec"]
    assert list(merged["metadata"]) == ["z", "y"]
    assert list(merged["spec"]) == ["a", "b"]
    assert list(merged["spec"]["a"]) == ["d", "c"]
    touched = paths_of(
        [{"op": "add", "path": "/spec/a/e", "value": 1}, {"op": "move", "from": "/x~1y/0/z", "path": "/q"}]
    )
    assert touched == {"spec": {"a": {}}, "x/y": {"0": {}}}


def test_values_are_printed_as_go_prints_them() -> None:
    value = {"b": [1, "x", None], "a": {"t": True, "f": 1.5}}
    assert go_text(value) == "map[a:map[f:1.5 t:true] b:[1 x <nil>]]"


def test_yaml_quotes_what_could_be_something_else() -> None:
    value = {"b": "1", "a": {"on": "yes", "text": "plain", "n": None, "lines": "a\nb\n"}, "c": [1, "2020-01-01"]}
    assert encode_yaml(value).decode() == (
        'a:\n  lines: |\n    a\n    b\n  "n": null\n  "on": "yes"\n  text: plain\nb: "1"\nc:\n- 1\n- "2020-01-01"\n'
    )
