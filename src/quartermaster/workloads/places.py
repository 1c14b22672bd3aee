"""The place of a live pod in the groups of its owner: which of them, which role, which one of that role.

Labels say it. They are read, never trusted: a label chooses among the groups of the pod's own verified owner, and can
put a pod nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quartermaster.workloads.catalogue import KINDS, GroupKind
from quartermaster.workloads.families import core, grove, jobset, kserve, kubeflow, leaderworker, ray, spark, volcano
from quartermaster.workloads.fields import label, text
from quartermaster.workloads.group import Group, Json, Member
from quartermaster.workloads.grouping import at_index
from quartermaster.workloads.owners import group_kind_of

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
    ("jobset.x-k8s.io", "JobSet"): jobset.copy,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): leaderworker.copy,
    ("grove.io", "PodCliqueSet"): grove.copy,
}
_DISAGGREGATED: Final = ("disaggregatedset.x-k8s.io", "DisaggregatedSet")


@dataclass(frozen=True, slots=True)
class Seat:
    """What a pod's labels say of its place."""

    role: str
    index: int | None
    copy: str = ""
    part: str = ""


def seated(pod: Json, owners: Sequence[Json], anchor: Json, groups: Sequence[Group]) -> Member:
    """The place of a pod in the groups of `anchor`, to which its verified `owners` lead."""
    key = group_kind_of(anchor)
    if key == _DISAGGREGATED:
        return chosen(pod, groups, _slice(pod, owners))
    place = _PLACES.get(key, core.seat)
    role, index = place(pod)
    copy = _COPIES[key](pod) if key in _COPIES else ""
    if key == ("grove.io", "PodCliqueSet"):
        return _in_gang(pod, groups, Seat(role, index, copy))
    part = str(index) if index is not None and key in (("jobset.x-k8s.io", "JobSet"), ("ray.io", "RayCluster")) else ""
    return chosen(pod, groups, Seat(role, index, copy, part))


def _slice(pod: Json, owners: Sequence[Json]) -> Seat:
    """Slice and role stand on the LeaderWorkerSet, which part of the role it is on the pod."""
    prefix = "disaggregatedset.x-k8s.io/"
    speakers = (pod, *owners)
    role = next((found for found in (label(one, prefix + "role") for one in speakers) if found), "")
    copy = next((found for found in (label(one, prefix + "slice") for one in speakers) if found), "")
    place, index = leaderworker.seat(pod)
    return Seat(role if place != "worker" else f"{role}-workers", index, copy, leaderworker.copy(pod))


def chosen(pod: Json, groups: Sequence[Group], seat: Seat) -> Member:
    """By a seat: the group that has the role; the only one that there is if the pod does not say."""
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


def _in_gang(pod: Json, groups: Sequence[Group], seat: Seat) -> Member:
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
    return chosen(pod, groups, Seat(clique, seat.index, seat.copy))
