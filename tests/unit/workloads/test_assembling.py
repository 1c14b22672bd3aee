"""Groups and the pods that there are as the scheduler's tree: what is missing, held back, surplus, done."""

from typing import Any

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod, PodSpec
from quartermaster.model.podgroup import SubGroup
from quartermaster.model.topology import Level, Topology, TopologyConstraint
from quartermaster.workloads.assembling import Assembly, Present, assembled, constraint, pod_group
from quartermaster.workloads.external import settled
from quartermaster.workloads.group import Bring, Closeness, Group, Joined, Role

RACKS = {"net": Topology(name="net", levels=(Level(label="zone"), Level(label="rack-id", alias="rack")))}


def group(*roles: Role, **more: Any) -> Group:
    return Group(**{"name": "g", "namespace": "ns", "kind": "Kind", "roles": roles, **more})


def pods(count: int, *role: str, first: int = 0, **more: Any) -> list[Present]:
    prefix = "-".join(role) or "pod"
    return [
        Present(pod=Pod(f"{prefix}-{number}", PodSpec()), role=role, index=number, **more)
        for number in range(first, first + count)
    ]


def shape(tree: SubGroup | None) -> Any:
    """(minimum, pods) of a leaf, (minimum, [children]) of an inner node."""
    if tree is None:
        return None
    return tree.minimum, [shape(child) for child in tree.children] if tree.children else len(tree.pods)


def test_one_role_is_one_leaf() -> None:
    tree = assembled(group(Role.of("a", 4, least=2)), pods(4, "a"))
    assert shape(tree.root) == (2, 4)


def test_roles_are_sub_groups() -> None:
    tree = assembled(group(Role.of("a", 1), Role.of("b", 3, least=2)), [*pods(1, "a"), *pods(3, "b")])
    assert shape(tree.root) == (2, [(1, 1), (2, 3)])
    assert tree.root is not None
    assert [child.name for child in tree.root.children] == ["a", "b"]


def test_it_waits_for_pods_that_are_still_to_come() -> None:
    tree = assembled(group(Role.of("a", 1), Role.of("b", 3)), [*pods(1, "a"), *pods(1, "b")])
    assert (tree.root, tree.missing) == (None, (("b", 2),))


def test_elastic_pods_are_not_waited_for_and_surplus_ones_are_welcome() -> None:
    assert shape(assembled(group(Role.of("a", 4, least=2)), pods(2, "a")).root) == (2, 2)
    assert shape(assembled(group(Role.of("a", 2)), pods(5, "a")).root) == (2, 5)


def test_a_role_of_which_nothing_is_needed_or_there_is_left_out() -> None:
    tree = assembled(group(Role.of("driver", 1), Role.of("executor", 4, least=0)), pods(1, "driver"))
    assert shape(tree.root) == (1, 1)


def test_pods_that_have_ended_are_done() -> None:
    there = [*pods(2, "a", ended=True), *pods(2, "a", first=2)]
    assert shape(assembled(group(Role.of("a", 4)), there).root) == (2, 4)


def test_parts_are_whole_or_held_back() -> None:
    role = Role.split("a", tuple(Role.of(str(number), 2) for number in range(3)), least=2)
    there = [*pods(2, "a", "0"), *pods(1, "a", "1"), *pods(2, "a", "2")]
    tree = assembled(group(role), there)
    assert shape(tree.root) == (2, [(2, 2), (2, 2)])
    assert [pod.name for pod in tree.held] == ["a-1-0"]


def test_too_few_whole_parts() -> None:
    role = Role.split("a", tuple(Role.of(str(number), 2) for number in range(3)), least=2)
    tree = assembled(group(role), [*pods(2, "a", "0"), *pods(1, "a", "1")])
    assert (tree.root, tree.missing) == (None, (("a", 3),))


def test_a_part_that_runs_is_not_held_back_while_a_pod_of_it_is_replaced() -> None:
    role = Role.split("a", tuple(Role.of(str(number), 2) for number in range(2)))
    tree = assembled(group(role), [*pods(2, "a", "0", bound=True), *pods(1, "a", "1", bound=True)])
    assert shape(tree.root) == (2, [(2, 2), (1, 1)])


def test_pods_that_name_no_part_fill_them_in_order() -> None:
    near = Closeness(topology="net", required="rack")
    role = Role.split("a", tuple(Role.of(str(number), 2, topology=near) for number in range(2)))
    tree = assembled(group(role), list(reversed(pods(4, "a"))), topologies=RACKS)
    assert tree.root is not None
    assert [[pod.name for pod in child.pods] for child in tree.root.children] == [["a-0", "a-1"], ["a-2", "a-3"]]
    assert {child.topology for child in tree.root.children} == {TopologyConstraint(topology="net", required="rack")}


def test_nothing_is_waited_for_when_all_are_there_in_other_roles_than_expected() -> None:
    two = group(Role.of("head", 1), Role.of("worker", 2))
    assert shape(assembled(two, pods(3, "head")).root) == (3, 3)
    assert assembled(two, pods(2, "head")).missing == (("worker", 2),)


def test_any_pods_of_a_pooled_group() -> None:
    pooled = group(Role.of("a", 2), Role.of("b", 4, least=0), pooled=True)
    assert shape(assembled(pooled, pods(3, "b")).root) == (2, 3)
    assert assembled(pooled, pods(1, "b")) == Assembly(None, (("", 1),))


def test_a_declared_group_whose_total_is_more_than_its_parts() -> None:
    joins = Joined(min=3, declared=(Role.of("x", 2),), brings=(Bring(owner="pods", count=3, role="x"),))
    tree = assembled(group(**settled(joins)), pods(3, "x"))
    assert shape(tree.root) == (3, 3)
    alone = Joined(min=3, declared=(Role.of("x", 2),))
    assert shape(assembled(group(**settled(alone)), pods(3, "x")).root) == (3, 3)


def test_a_pod_without_a_role_counts_towards_the_whole() -> None:
    two = group(Role.of("a", 2), Role.of("b", 1))
    assert shape(assembled(two, [*pods(2, "a"), *pods(1)]).root) == (3, 3)


def test_an_open_group_needs_all_at_first_and_what_ran_after() -> None:
    open_ = group(Role.of("pods", 1), open=True)
    assert shape(assembled(open_, pods(4, "pods")).root) == (4, 4)
    assert shape(assembled(open_, [*pods(4, "pods", bound=True), *pods(2, "pods", first=4)]).root) == (4, 6)


def test_the_topology_of_a_group_and_of_its_only_role() -> None:
    near, nearer = Closeness(required="zone"), Closeness(topology="net", preferred="rack")
    tree = assembled(group(Role.of("a", 2, topology=nearer), topology=near), pods(2, "a"), topologies=RACKS)
    assert tree.root is not None
    assert tree.root.topology == TopologyConstraint(topology="net", required="zone")
    assert tree.root.children[0].topology == TopologyConstraint(topology="net", preferred="rack")


def test_what_the_scheduler_is_given() -> None:
    given = group(Role.of("a", 2), priority=75, preemptible=False, runtime=60.0, staleness_grace=5.0)
    root = assembled(given, pods(2, "a")).root
    assert root is not None
    made = pod_group(given, root, queue="q", created=7.0, started=9.0)
    assert (made.name, made.queue, made.priority, made.preemptible) == ("ns/Kind/g", "q", 75, False)
    assert (made.created, made.started, made.runtime, made.staleness_grace) == (7.0, 9.0, 60.0, 5.0)
    assert pod_group(group(Role.of("a", 2)), root, queue="q", created=0.0).priority == 50


def test_levels_are_found_in_the_topology_that_has_them() -> None:
    assert constraint(Closeness(required="rack-id"), RACKS) == TopologyConstraint(topology="net", required="rack-id")
    assert constraint(Closeness(preferred="moon"), RACKS) is None
    assert constraint(None, RACKS) is None
    assert constraint(Closeness(topology="net", required="rack"), {}) is not None
    with pytest.raises(InvalidInput, match="there is no level 'moon'"):
        constraint(Closeness(required="moon"), RACKS)
    with pytest.raises(InvalidInput, match="there is no topology 'sky'"):
        constraint(Closeness(topology="sky", required="rack"), RACKS)
