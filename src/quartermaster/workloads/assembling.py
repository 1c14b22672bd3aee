"""A group and the pods that there are -> the scheduler's tree of sub-groups; or what is missing for it to start.

Pods that have ended count as there and done. A part of a role (a job, a host set, a segment) that is not complete yet
is held back whole rather than started by half, unless some of it runs already. Pods above what a role wants are more
of the same: they are placed when there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quartermaster.model.errors import InvalidInput
from quartermaster.model.pod import Pod
from quartermaster.model.podgroup import DEFAULT_PRIORITY, PodGroup, SubGroup
from quartermaster.model.topology import Topology, TopologyConstraint
from quartermaster.workloads.group import Closeness, Group, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A pod that exists, with its place in the group. One that `ended` needs no node; one `bound` has it."""

    pod: Pod
    role: tuple[str, ...] = ()
    index: int | None = None
    ended: bool = False
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Assembly:
    """`root` is None while too few pods exist; `missing`: how many of which role. `held` pods are left out."""

    root: SubGroup | None
    missing: tuple[tuple[str, int], ...] = ()
    held: tuple[Pod, ...] = ()


def assembled(
    group: Group, present: Sequence[Present], *, topologies: Mapping[str, Topology] | None = None
) -> Assembly:
    """The tree of a group. Without `topologies`, constraints are taken as they are written."""
    known = topologies or {}
    near = constraint(group.topology, known)
    if group.open:
        return Assembly(_flat(present, _needed(present), near))
    if group.pooled or any(_unplaced(group, one) for one in present):
        needed = max(0, group.min - sum(one.ended for one in present))
        there = sum(not one.ended for one in present)
        if there < needed:
            return Assembly(None, (("", needed - there),))
        return Assembly(_flat(present, needed, near))
    built = [_built(role, [one for one in present if one.role[0] == role.name], known) for role in group.roles]
    missing = tuple((role.name, part.missing) for role, part in zip(group.roles, built, strict=True) if part.missing)
    held = tuple(pod for part in built for pod in part.held)
    if missing:
        there = sum(not one.ended for one in present)
        if there + sum(one.ended for one in present) >= group.desired:
            # All its pods exist, only not in the roles that were expected: what waits for others waits for ever.
            return Assembly(_flat(present, max(0, group.min - len(present) + there), near))
        return Assembly(None, missing, held)
    trees = [part.tree for part in built if part.tree is not None]
    if len(trees) == 1 and (near is None or trees[0].topology is None):
        return Assembly(replace(trees[0], topology=near or trees[0].topology), (), held)
    if not trees:
        return Assembly(SubGroup(), (), held)
    return Assembly(SubGroup(children=tuple(trees), topology=near), (), held)


def pod_group(group: Group, root: SubGroup, *, queue: str, created: float, **more: Any) -> PodGroup:
    """For the scheduler, named by the group's key. `queue` is where it may go; `more` are what only a cluster knows."""
    return PodGroup(
        name=group.key,
        queue=queue,
        root=root,
        priority=DEFAULT_PRIORITY if group.priority is None else group.priority,
        created=created,
        preemptible=group.preemptible,
        owner=group.namespace,
        preemption_delay=group.preemption_delay or 0.0,
        staleness_grace=group.staleness_grace,
        runtime=group.runtime,
        max_runtime=group.max_runtime,
        **more,
    )


def _unplaced(group: Group, one: Present) -> bool:
    return not one.role or all(role.name != one.role[0] for role in group.roles)


def _needed(present: Iterable[Present]) -> int:
    """Of a group that does not say: all that are there when it starts, and those of them that are left after."""
    live = [one for one in present if not one.ended]
    bound = sum(one.bound for one in live)
    return bound or len(live)


def _flat(present: Iterable[Present], needed: int, near: TopologyConstraint | None) -> SubGroup:
    return SubGroup(pods=tuple(one.pod for one in present), min=needed, topology=near)


@dataclass(frozen=True, slots=True)
class _Built:
    tree: SubGroup | None
    missing: int = 0
    held: tuple[Pod, ...] = ()


def _built(role: Role, present: Sequence[Present], known: Mapping[str, Topology], depth: int = 1) -> _Built:
    near = constraint(role.topology, known)
    if not role.parts:
        done = sum(one.ended for one in present)
        needed = max(0, role.min - done)
        short = max(0, needed - (len(present) - done))
        leaf = SubGroup(
            name=role.name, pods=tuple(one.pod for one in present), min=None if short else needed, topology=near
        )
        return _Built(leaf if present else None, short)
    trees: list[SubGroup] = []
    held: list[Pod] = []
    whole = short = 0
    for part, pods in zip(role.parts, _dealt(role, present, depth), strict=True):
        inner = _built(part, pods, known, depth + 1)
        held += inner.held
        if not inner.missing:
            whole += 1
            trees += [inner.tree] if inner.tree else []
        elif any(one.bound for one in pods) and inner.tree is not None:
            whole += 1  # it runs, and one of it is being replaced: it is not to be stopped for that
            trees.append(inner.tree)
        else:
            held += [one.pod for one in pods]
            short += inner.missing
    if whole < role.min_parts:
        return _Built(None, max(1, short), tuple(held))
    if not trees:
        return _Built(None, 0, tuple(held))
    needed = max(0, role.min_parts - (whole - len(trees)))
    return _Built(SubGroup(name=role.name, children=tuple(trees), min=needed, topology=near), 0, tuple(held))


def _dealt(role: Role, present: Sequence[Present], depth: int) -> list[list[Present]]:
    """The pods of each part: those that name it, then the others in order of their index, filling up part by part."""
    names = {part.name: number for number, part in enumerate(role.parts)}
    dealt: list[list[Present]] = [[] for _ in role.parts]
    others = []
    for one in present:
        number = names.get(one.role[depth]) if len(one.role) > depth else None
        if number is None:
            others.append(one)
        else:
            dealt[number].append(one)
    others.sort(key=lambda one: (one.index is None, one.index or 0, one.pod.name))
    number = 0
    for one in others:
        while number < len(dealt) - 1 and len(dealt[number]) >= role.parts[number].desired:
            number += 1
        dealt[number].append(one)
    return dealt


def constraint(near: Closeness | None, known: Mapping[str, Topology]) -> TopologyConstraint | None:
    """For the scheduler. A level without a topology is looked for in all of them; a preference nobody knows is dropped.

    Raises `InvalidInput` for a required level that no topology has: a group that must be near cannot be placed blindly.
    """
    if near is None or not (near.required or near.preferred):
        return None
    name = near.topology or next((one.name for one in known.values() if _has(one, near.required or near.preferred)), "")
    if not name or (known and name not in known):
        if near.required:
            what = f"topology '{near.topology}'" if near.topology else f"level '{near.required}'"
            raise InvalidInput("topology", f"there is no {what}", "name a topology of the cluster, and a level of it")
        return None
    return TopologyConstraint(topology=name, required=near.required, preferred=near.preferred)


def _has(topology: Topology, level: str) -> bool:
    return any(level in (one.label, one.alias) for one in topology.levels)
