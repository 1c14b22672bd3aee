"""A live pod and its owners -> the group that it is in, and its place there. Never an error, and never no group.

The group comes from the object, the place from the pod's labels. A label can say which role of its own owner's group
a pod has; it cannot put the pod into another owner's group. What cannot be read is grouped by its nearest owner: all
pods that are there when it starts are needed, since a gang that starts by half wastes what it holds, while pods that
do not exist are never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.catalogue import KINDS, TRAIN, GroupKind, Kind
from quartermaster.workloads.external import Named, declared, named
from quartermaster.workloads.families import core, grove, jobset, kserve, kubeflow, leaderworker, ray, spark, volcano
from quartermaster.workloads.fields import label, text
from quartermaster.workloads.group import Bring, Group, Json, Member, Role
from quartermaster.workloads.grouping import at_index, described, enter, kind_of, nowhere
from quartermaster.workloads.owners import Reference, Walk, chain, group_kind_of, walk
from quartermaster.workloads.wishes import Lookup, least, wishes

PODS: Final = "pods"
"""The one role of a group that is known only by its pods."""

Place = tuple[str, int | None]
_PLACES: Final[Mapping[GroupKind, Callable[[Json], Place]]] = {
    **{key: kubeflow.seat for key in KINDS if key[0] == "kubeflow.org" and key[1].endswith("Job")},
    ("jobset.x-k8s.io", "JobSet"): jobset.seat,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): leaderworker.seat,
    ("ray.io", "RayCluster"): ray.seat,
    ("sparkoperator.k8s.io", "SparkApplication"): spark.seat,
    ("batch.volcano.sh", "Job"): volcano.seat,
    ("grove.io", "PodCliqueSet"): grove.seat,
    ("serving.kserve.io", "InferenceService"): kserve.seat,
}
_COPIES: Final[Mapping[GroupKind, Callable[[Json], str]]] = {
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): leaderworker.copy,
    ("grove.io", "PodCliqueSet"): grove.copy,
}
_DISAGGREGATED: Final = ("disaggregatedset.x-k8s.io", "DisaggregatedSet")


@dataclass(frozen=True, slots=True)
class _Seat:
    """What a pod's labels say of its place."""

    role: str
    index: int | None
    copy: str = ""
    part: str = ""


def membership(pod: Json, owners: Sequence[Json] = (), *, lookup: Lookup = nowhere) -> Member:
    """Where a pod belongs. `owners`: its chain, nearest first, as far as it could be read; forged links are cut.

    `lookup` finds what the owners refer to. Groups with the same `key` are the same group.
    """
    try:
        verified = chain(pod, owners)
        up = walk(pod, verified)
        try:
            groups = () if up.anchor is None else described(up.anchor, lookup=lookup, outer=up.outer)
        except InvalidInput as wrong:
            return _stray(
                pod, _reference(up), lookup, why=f"{group_kind_of(up.anchor or pod)[1]} cannot be read: {wrong}"
            )
        if up.stray is not None:
            return _of_unknown(pod, verified, up.stray, lookup)
        if up.anchor is None or not groups:
            return _alone(pod, up, lookup)
        return _named(_seated(pod, verified, up.anchor, groups), pod, (up.anchor, *up.outer), lookup, bare=False)
    except InvalidInput as wrong:
        return Member(group=_one(pod, f"cannot be read: {wrong}"), role=(PODS,))


def _reference(up: Walk) -> Reference:
    anchor = up.anchor or {}
    group, kind = group_kind_of(anchor)
    metadata = anchor.get("metadata") or {}
    return Reference(group, kind, str(metadata.get("name", "")), str(metadata.get("uid", "")))


def _alone(pod: Json, up: Walk, lookup: Lookup) -> Member:
    """A pod that nobody groups, or that is a step of something: itself, or the group that it names."""
    outer = up.outer
    groups = described({"apiVersion": "v1", "kind": "Pod", **pod}, outer=outer, lookup=_without_groups(lookup))
    group = groups[0] if groups else _one(pod, "a pod on its own")
    role = group.roles[0].name if group.roles else PODS
    plain = _plain(group, pod)
    return _named(Member(group=plain, role=(role,)), pod, (pod, *outer), lookup, bare=True)


def _plain(group: Group, pod: Json) -> Group:
    """The pod's own group even where it names another, which is looked into afterwards."""
    if group.joined is None:
        return group
    roles = (Role.of("main", 1, template=pod),)
    return replace(
        group, name=text(pod, "metadata.name"), kind="Pod", uid=text(pod, "metadata.uid"), roles=roles, joined=None,
        pooled=False, open=False,
    )  # fmt: skip


def _without_groups(lookup: Lookup) -> Lookup:
    def found(group: str, kind: str, namespace: str, name: str) -> Json | None:
        return None if kind in ("PodGroup", "Workload") else lookup(group, kind, namespace, name)

    return found


def _of_unknown(pod: Json, owners: Sequence[Json], owner: Reference, lookup: Lookup) -> Member:
    """A pod whose owner is not known: by what the owner looks like, or with all pods that it has."""
    top = owners[0] if owners else None
    if top is not None and group_kind_of(top) not in KINDS and kind_of(top) is not None:
        groups = described(top, lookup=lookup, outer=owners[1:])
        if groups:
            role, index = kubeflow.seat(pod)
            member = _chosen(pod, groups, _Seat(role, index))
            return _named(member, pod, tuple(owners), lookup, bare=False)
    needed = least(top, pod)
    why = f"{owner.kind} ({owner.group or 'core'}) is not a kind that is known"
    if (owner.group, owner.kind) in KINDS:
        why = f"the {owner.kind} {owner.name} is not here"
    member = _stray(pod, owner, lookup, why=why, owners=tuple(owners), needed=needed)
    return _named(member, pod, (*owners, pod), lookup, bare=True)


def _stray(
    pod: Json, owner: Reference, lookup: Lookup, *, why: str, owners: tuple[Json, ...] = (), needed: int | None = None
) -> Member:
    kind = KINDS.get((owner.group, owner.kind)) or Kind(
        group=owner.group, kind=owner.kind, plural="", versions=(), priority=TRAIN
    )
    asked = wishes(owners, [pod], kind, lookup)
    said = (
        f"{why}: it needs {needed} pods, as it says"
        if needed is not None
        else f"{why}: all pods that it has when it starts are taken to be needed (say how many with "
        "quartermaster.dev/min-member)"
    )
    size = max(1, needed or 1)
    group = Group(
        name=owner.name or "unknown",
        namespace=text(pod, "metadata.namespace"),
        kind=owner.kind or "Unknown",
        uid=owner.uid,
        roles=(Role.of(PODS, size, template=pod),),
        open=needed is None,
        why=(said, *asked.why),
        **asked.fields(),
    )
    return Member(group=group, role=(PODS,))


def _one(pod: Json, why: str) -> Group:
    """The group of a pod of which nothing else may be readable."""
    metadata = pod.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return Group(
        name=str(known.get("name") or "unnamed"),
        namespace=str(known.get("namespace") or ""),
        kind="Pod",
        uid=str(known.get("uid") or ""),
        roles=(Role.of(PODS, 1, template=pod),),
        why=(why,),
    )


# ---- the place in a group


def _seated(pod: Json, owners: Sequence[Json], anchor: Json, groups: Sequence[Group]) -> Member:
    key = group_kind_of(anchor)
    if key == _DISAGGREGATED:
        return _chosen(pod, groups, _slice(pod, owners))
    place = _PLACES.get(key, core.seat)
    role, index = place(pod)
    copy = _COPIES[key](pod) if key in _COPIES else ""
    if key == ("grove.io", "PodCliqueSet"):
        return _in_gang(pod, groups, _Seat(role, index, copy))
    part = str(index) if index is not None and key in (("jobset.x-k8s.io", "JobSet"), ("ray.io", "RayCluster")) else ""
    return _chosen(pod, groups, _Seat(role, index, copy, part))


def _slice(pod: Json, owners: Sequence[Json]) -> _Seat:
    """Slice and role stand on the LeaderWorkerSet, which part of the role it is on the pod."""
    prefix = "disaggregatedset.x-k8s.io/"
    speakers = (pod, *owners)
    role = next((found for found in (label(one, prefix + "role") for one in speakers) if found), "")
    copy = next((found for found in (label(one, prefix + "slice") for one in speakers) if found), "")
    place, index = leaderworker.seat(pod)
    return _Seat(role if place != "worker" else f"{role}-workers", index, copy, leaderworker.copy(pod))


def _chosen(pod: Json, groups: Sequence[Group], seat: _Seat) -> Member:
    """The group that has the role; the only one that there is if the pod does not say."""
    by_role = [group for group in groups if any(role.name == seat.role for role in group.roles)]
    name = seat.role
    if not by_role and seat.role.endswith("-workers"):
        name = seat.role.removesuffix("-workers")
        by_role = [group for group in groups if any(role.name == name for role in group.roles)]
    group = by_role[0] if by_role else groups[0]
    path: tuple[str, ...] = (name,) if by_role else ()
    if not by_role and len(groups) == 1 and len(group.roles) == 1:
        path = (group.roles[0].name,)
    if path and seat.part and group.role((*path, seat.part)) is not None:
        path = (*path, seat.part)
    return Member(group=_copy(pod, group, seat.copy), role=path, index=seat.index)


def _copy(pod: Json, group: Group, copy: str) -> Group:
    if group.each == "pod":
        return replace(
            group, name=text(pod, "metadata.name") or group.name, kind="Pod", uid=text(pod, "metadata.uid"), each="",
            copies=1, suffix="",
        )  # fmt: skip
    if group.each == "index":
        if copy.isdecimal():
            return at_index(group, int(copy))
        if group.copies == 1:
            return at_index(group, 0)
        why = f"its pods do not say which of {group.copies} groups they are in: any {group.min} of them start"
        return replace(group, each="", copies=1, pooled=True, why=(why, *group.why))
    return group


def _in_gang(pod: Json, groups: Sequence[Group], seat: _Seat) -> Member:
    """Grove: the clique's label ends in its name, and the label of the gang is the group's name."""
    names = sorted({role.name for group in groups for role in group.roles}, key=len, reverse=True)
    clique = next((name for name in names if seat.role == name or seat.role.endswith(f"-{name}")), "")
    with_it = [group for group in groups if any(role.name == clique for role in group.roles)]
    gang = label(pod, "grove.io/podgang")
    for group in with_it:
        found = _copy(pod, group, seat.copy)
        if not gang or found.name == gang:
            part = str(seat.index) if seat.index is not None else ""
            path = (clique, part) if found.role((clique, part)) is not None else (clique,)
            return Member(group=found, role=path, index=seat.index)
    return _chosen(pod, groups, _Seat(clique, seat.index, seat.copy))


# ---- groups that the pod names


def _named(member: Member, pod: Json, owners: Sequence[Json], lookup: Lookup, *, bare: bool) -> Member:
    asked = named(pod, bare=bare)
    if asked is None:
        return member
    one = Bring(owner=PODS, count=_needed(asked, lookup, member.group.namespace), role=asked.part)
    found = enter(member.group, asked, [one], owners=owners, lookup=lookup, bare=bare)
    if found.joined is None:
        return replace(member, group=found)
    if found.role((asked.part,)) is not None and asked.part:
        return replace(member, group=found, role=(asked.part,))
    inner = next((path for path in _paths(found.roles) if path[-1] == asked.part), None) if asked.part else None
    return replace(member, group=found, role=inner or ((PODS,) if found.role((PODS,)) else ()))


def _needed(asked: Named, lookup: Lookup, namespace: str) -> int:
    """How many pods the group has at the least: who else brings some, a single pod cannot say."""
    if not asked.api:
        return asked.size or 1
    value = lookup(asked.api, asked.kind, namespace, asked.name)
    found = declared(value, asked.part, lookup) if value else None
    return 1 if found is None or found.roles else found.least


def _paths(roles: Sequence[Role], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for role in roles:
        found.append((*above, role.name))
        found += _paths(role.parts, (*above, role.name))
    return found
