"""What was admitted against what is wanted now: growth asks again, shrinking holds at once."""

from quartermaster.workloads.group import Group, Role
from quartermaster.workloads.resizing import resized


def group(*roles: Role) -> Group:
    return Group(name="g", namespace="ns", kind="Kind", roles=roles)


def counts(found: Group | None) -> dict[str, tuple[int, int]] | None:
    return None if found is None else {role.name: (role.min, role.desired) for role in found.roles}


def test_no_change() -> None:
    same = group(Role.of("a", 4, least=2))
    assert resized(same, same).grown is None
    assert resized(same, same).kept == same


def test_growth_is_a_group_of_its_own_and_leaves_the_old_one_alone() -> None:
    found = resized(group(Role.of("m", 1), Role.of("w", 4)), group(Role.of("m", 1), Role.of("w", 8)))
    assert counts(found.kept) == {"m": (1, 1), "w": (4, 4)}
    assert counts(found.grown) == {"w": (4, 4)}
    assert found.grown is not None
    assert found.grown.name == "g-growth"


def test_elastic_growth_needs_nothing() -> None:
    found = resized(group(Role.of("w", 4, least=2)), group(Role.of("w", 6, least=2)))
    assert (counts(found.kept), counts(found.grown)) == ({"w": (2, 4)}, {"w": (0, 2)})


def test_shrinking_is_at_once() -> None:
    found = resized(group(Role.of("w", 8)), group(Role.of("w", 4)))
    assert (counts(found.kept), found.grown) == ({"w": (4, 4)}, None)


def test_a_new_role_is_growth_and_a_lost_one_is_gone() -> None:
    found = resized(group(Role.of("a", 2), Role.of("b", 1)), group(Role.of("a", 2), Role.of("c", 3)))
    assert (counts(found.kept), counts(found.grown)) == ({"a": (2, 2)}, {"c": (3, 3)})


def test_parts_are_kept_whole() -> None:
    def parted(number: int) -> Role:
        return Role.split("w", tuple(Role.of(str(part), 2) for part in range(number)))

    found = resized(group(parted(2)), group(parted(3)))
    assert (counts(found.kept), counts(found.grown)) == ({"w": (4, 4)}, {"w": (2, 2)})
    assert found.kept.roles[0].min_parts == 2
    assert counts(resized(group(parted(3)), group(parted(2))).kept) == {"w": (4, 4)}
