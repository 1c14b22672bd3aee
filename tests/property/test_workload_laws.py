"""Laws of grouping: no owner tree, however odd, raises or loses a pod; roles add up; nothing is waited for in vain."""

import io
import json
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.cli.main import main
from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.workloads.assembling import Present, assembled
from quartermaster.workloads.catalogue import KINDS, Part
from quartermaster.workloads.group import Group, Role
from quartermaster.workloads.grouping import each, groups_of
from quartermaster.workloads.members import Memberships, membership
from quartermaster.workloads.resizing import resized
from tests.unit.workloads.samples import find, runtimes, samples
from tests.unit.workloads.test_kinds import CASES

Json = dict[str, Any]

SPECIMENS: list[Json] = [
    value for case in CASES for value in (case["given"] if isinstance(case["given"], list) else [case["given"]])
] + [value for values in samples().values() for value in values if "kind" in value]
NAMES = st.sampled_from(["a", "b", ""])
ODD: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from(["", "x", "3", "true"])
    | st.floats(allow_nan=True),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "spec", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = [(kind.group, kind.kind) for kind in KINDS.values() if kind.part is Part.WORKLOAD] + [("example.com", "Other")]


@st.composite
def damaged(draw: st.DrawFn) -> Json:
    """An object that is right but for one field somewhere in it."""
    value: Json = draw(st.sampled_from(SPECIMENS))

    def damage(part: Any, depth: int) -> Any:
        if depth > 7 or not isinstance(part, dict | list) or not part or draw(st.integers(0, 5)) == 0:
            return draw(ODD)
        if isinstance(part, list):
            index = draw(st.integers(0, len(part) - 1))
            return [damage(one, depth + 1) if number == index else one for number, one in enumerate(part)]
        key = draw(st.sampled_from(sorted(part, key=str)))
        return {**part, key: damage(part[key], depth + 1)}

    broken: Json = {**value, "spec": damage(value.get("spec"), 1)}
    if draw(st.booleans()):
        broken["metadata"] = damage(value.get("metadata"), 1)
    return broken


@st.composite
def forests(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """A pod with a chain of anything: unknown kinds, equal UIDs, circles, gaps, objects that are no objects."""
    uids = st.sampled_from(["1", "2", "3"])

    def reference() -> Any:
        group, kind = draw(st.sampled_from(KEYS))
        whole = {"apiVersion": f"{group}/v1", "kind": kind, "name": draw(NAMES), "uid": draw(uids), "controller": True}
        return draw(st.sampled_from([whole, {**whole, "controller": False}, {}, None, "x", {"controller": True}]))

    owners = []
    for _ in range(draw(st.integers(0, 5))):
        top: Json = dict(draw(st.sampled_from(SPECIMENS) | damaged()))
        marks = draw(st.just({}) | st.dictionaries(st.sampled_from(["labels", "annotations"]), ODD, max_size=2))
        top["metadata"] = {
            "name": draw(NAMES),
            "uid": draw(uids),
            "ownerReferences": [reference(), reference()],
            **marks,
        }
        owners.append(top)
    below: Json = {"metadata": draw(ODD)}
    if draw(st.integers(0, 9)):
        below = {"metadata": {"name": "p", "namespace": "ns", "uid": "pod"}, "spec": draw(ODD)}
    chain = [below, *owners]
    for child, owner in zip(chain, owners, strict=False):
        if draw(st.integers(0, 3)) and isinstance(child["metadata"], dict):  # mostly true
            named = {key: owner.get(key) for key in ("apiVersion", "kind")}
            meta = owner["metadata"]
            child["metadata"]["ownerReferences"] = [
                {**named, "name": meta.get("name"), "uid": meta.get("uid"), "controller": True}
            ]
    return below, owners


@given(forests())
@settings(max_examples=400, deadline=None)
def test_no_owner_tree_raises_or_loses_a_pod(forest: tuple[Json, list[Json]]) -> None:
    pod, owners = forest
    member = membership(pod, owners)
    assert member.group.key
    assert member.group.why
    assert member.group.copies == 1
    assert not member.group.each
    assert not member.role or member.group.role(member.role) is not None
    assert membership(pod, owners) == member


@given(damaged())
@settings(max_examples=400, deadline=None)
def test_a_damaged_object_is_read_or_refused_by_name(value: Json) -> None:
    refused: InvalidInput | None = None
    groups: tuple[Group, ...] = ()
    try:
        groups = groups_of(value, lookup=find(runtimes()))
    except InvalidInput as wrong:
        refused = wrong
    assert refused is None or (refused.field and refused.fix)
    for group in groups:
        adds_up(group)
    assert len({group.key for group in groups}) == len(groups)


@given(st.lists(damaged(), min_size=1, max_size=3), st.sampled_from(["json", "table"]))
@settings(max_examples=100, deadline=None)
def test_the_command_groups_anything_or_says_where_it_is_wrong(values: list[Json], form: str) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": values}, default=str)
    said, told = io.StringIO(), io.StringIO()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file, redirect_stderr(said), redirect_stdout(told):
        file.write(text)
        file.flush()
        code = main(["groups", "-f", file.name, "-o", form])
    assert (code, bool(told.getvalue())) in ((0, True), (2, False))
    assert code == 0 or said.getvalue().startswith(f"error: {file.name}")


def adds_up(group: Group) -> None:
    assert group.min == sum(role.min for role in group.roles) <= group.desired
    assert group.desired == sum(role.desired for role in group.roles)
    assert group.max is None or group.max >= group.desired


@given(st.sampled_from(SPECIMENS))
def test_memory_changes_nothing(value: Json) -> None:
    owner = {**value, "metadata": {**value.get("metadata", {}), "name": "o", "uid": "o", "resourceVersion": "1"}}
    named = {"apiVersion": owner.get("apiVersion"), "kind": owner.get("kind"), "name": "o", "uid": "o"}
    pods = [
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": name,
                "ownerReferences": [{**named, "controller": True}],
            },
            "spec": {},
        }
        for name in ("x", "y")
    ]
    memory = Memberships(find(runtimes()))
    for pod in [*pods, *pods]:
        assert memory.of(pod, [owner]) == membership(pod, [owner], lookup=find(runtimes()))


@given(st.sampled_from(SPECIMENS), st.booleans())
def test_memory_asks_again_for_what_objects_refer_to(value: Json, gone: bool) -> None:
    owner = {**value, "metadata": {**value.get("metadata", {}), "name": "o", "uid": "o", "resourceVersion": "1"}}
    named = {"apiVersion": owner.get("apiVersion"), "kind": owner.get("kind"), "name": "o", "uid": "o"}
    metadata = {"namespace": "ns", "ownerReferences": [{**named, "controller": True}]}
    there = [*runtimes(), {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}}]
    asked: list[tuple[str, ...]] = []

    def lookup(*what: str) -> Json | None:
        asked.append(what)
        found: Json | None = find(tuple(there))(*what)
        return found

    memory = Memberships(lookup)
    for name in ("x", "y"):
        pod = {"metadata": {**metadata, "name": name, "uid": name}, "spec": {"priorityClassName": "p"}}
        asked.clear()
        found, told = memory.of(pod, [owner]), set(asked)
        asked.clear()
        assert found == membership(pod, [owner], lookup=lookup)
        assert told == set(asked), "what a pod's group hangs on is the same for every pod"
        there[:] = [] if gone else [{**one, "spec": {}} for one in there]


ROLES = st.builds(
    lambda count, least, parts: (count, least, parts), st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)
)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    roles = []
    for number, (count, least, parts) in enumerate(draw(st.lists(ROLES, min_size=1, max_size=3))):
        name = f"r{number}"
        if parts and count:
            inner = tuple(Role.of(str(part), count, least=least) for part in range(parts))
            roles.append(Role.split(name, inner, least=draw(st.integers(0, parts))))
        else:
            roles.append(Role.of(name, count, least=least))
    return Group(name="g", namespace="ns", kind="K", roles=tuple(roles), pooled=draw(st.booleans()))


@given(groups(), st.data())
def test_assembling_keeps_every_pod_and_never_waits_when_all_are_there(group: Group, data: st.DataObject) -> None:
    everyone = [
        Present(pod=Pod(f"{role.name}-{number}", PodSpec()), role=(role.name,), index=number)
        for role in group.roles
        for number in range(role.desired)
    ]
    full = assembled(group, everyone)
    assert full.root is not None
    assert not full.missing
    some = [one for one in everyone if data.draw(st.booleans())]
    there = [replace(one, ended=data.draw(st.booleans()), bound=data.draw(st.booleans())) for one in some]
    part = assembled(group, there)
    placed = [] if part.root is None else [pod.name for leaf in part.root.leaves() for pod in leaf.pods]
    held = [pod.name for pod in part.held]
    if part.root is not None:
        assert sorted(placed + held) == sorted(one.pod.name for one in there)
    else:
        assert part.missing


@given(groups(), groups())
def test_resizing_shares_out_what_is_wanted_now(before: Group, now: Group) -> None:
    found = resized(before, now)
    adds_up(found.kept)
    grown = 0 if found.grown is None else found.grown.desired
    assert found.kept.desired + grown == now.desired
    admitted = {role.name: role for role in before.roles}
    assert all(role.min <= admitted[role.name].min for role in found.kept.roles)


@given(groups(), st.integers(1, 4))
def test_copies_differ_by_name_only(group: Group, copies: int) -> None:
    several = list(each(replace(group, each="index", copies=copies, suffix="")))
    assert len({one.key for one in several}) == copies
    assert {(one.min, one.desired) for one in several} == {(group.min, group.desired)}
