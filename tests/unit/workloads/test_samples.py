"""Every example manifest becomes the groups that were worked out for it by hand."""

from collections import Counter
from typing import Any

import pytest

from quartermaster.workloads.external import merged
from quartermaster.workloads.group import Group
from quartermaster.workloads.grouping import described, each
from tests.unit.workloads.samples import expected, find, parsed, runtimes, samples

JUDGED = {name: value for name, value in expected().items() if "safe" in value}


def groups(name: str, *, with_runtimes: bool = True) -> list[Group]:
    objects = samples()[name]
    lookup = find(objects + (runtimes() if with_runtimes else ()))
    found = [group for value in objects for group in described(value, lookup=lookup, parse=parsed)]
    return [one for group in merged(found) for one in each(group)]


@pytest.mark.parametrize("name", JUDGED)
def test_a_sample_becomes_its_safe_groups(name: str) -> None:
    found = groups(name)
    safe = JUDGED[name]["safe"]
    later = [group for group in found if any(group.role((one["then"],)) for one in safe if "then" in one)]
    if "phase" in safe[0]:
        assert [(group.phase, group.min, [role.name for role in group.roles]) for group in found] == [
            (one["phase"], one["min"], [one["of"]]) for one in safe
        ]
    else:
        first = [group for group in found if group not in later]
        if "minSubGroup" not in safe[0]:
            assert Counter(group.min for group in first) == {one["min"]: one["n"] for one in safe}
    for one in safe:
        check(one, found, later)


def check(one: dict[str, Any], found: list[Group], later: list[Group]) -> None:
    if "then" in one:
        assert [(group.phase, group.min) for group in later] == [(2, 1)]
    if "reserve" in one:
        assert [group.desired for group in found] == [one["reserve"]]
    if "each" in one:
        assert {part.min for role in found[0].roles for part in role.parts} == {one["each"]}
    if "order" in one:
        assert [group.phase for group in found] == [1, 2]
    if one.get("perTrial"):
        assert [(group.per, group.at_once) for group in found] == [("trial", 3)]
    if one.get("perSlice"):
        assert [[(r.name, r.min_parts, len(r.parts)) for r in group.roles] for group in found] == one["n"] * [
            [("prefill", 1, 2), ("decode", 1, 2)]
        ]


@pytest.mark.parametrize("name", [name for name, value in JUDGED.items() if isinstance(value.get("pods"), int)])
def test_and_has_all_its_pods(name: str) -> None:
    assert sum(group.desired for group in groups(name)) == expected()[name]["pods"]


# The fourth has bounds and does not scale itself, so they say nothing.
SCALING = ("pytorchjob-elastic-kai.yaml", "pytorchjob-elastic-echo.yaml", "raycluster-autoscaler.yaml")


@pytest.mark.parametrize("name", SCALING)
def test_elastic_samples_say_how_far_they_go(name: str) -> None:
    (group,) = groups(name)
    assert [(role.min, role.max) for role in group.roles if role.max != role.min] == [
        tuple(expected()[name]["elastic"])
    ]
    assert {other for other, value in expected().items() if "elastic" in value} == {*SCALING, "raycluster-kueue.yaml"}


@pytest.mark.parametrize("name", [name for name in JUDGED if name.startswith("trainjob-")])
def test_train_jobs_are_read_the_same_without_their_runtime(name: str) -> None:
    with_it, without = groups(name), groups(name, with_runtimes=False)
    assert [(group.phase, group.min) for group in with_it] == [(group.phase, group.min) for group in without]


def test_a_cron_job_is_told_once_for_each_firing() -> None:
    found = groups("cronjob-kueue.yaml")
    assert sum(group.desired for group in found) == expected()["cronjob-kueue.yaml"]["podsPerFiring"]
    assert {group.per for group in found} == {"firing"}


@pytest.mark.parametrize("name", samples())
def test_roles_add_up_and_names_differ(name: str) -> None:
    if "apiVersion" not in samples()[name][0]:
        return
    found = groups(name)
    for group in found:
        assert group.min == sum(role.min for role in group.roles)
        assert group.desired == sum(role.desired for role in group.roles)
        assert group.why
    assert len({group.key for group in found}) == len(found)
