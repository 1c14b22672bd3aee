"""From a pod up: which owners are really its owners, and from which of them its groups are read.

Only a reference that says ``controller``, with the UID of the object that is there, is followed; a pod of Kubernetes'
own pod groups has a second reference that is neither. The walk ends at the first object that is missing, unknown, or
not one that the next is known to make: an unknown wrapper, or a known one that merely owns, swallows no gang.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quartermaster.workloads.catalogue import workload
from quartermaster.workloads.fields import label
from quartermaster.workloads.group import Json

POD = ("", "Pod")


@dataclass(frozen=True, slots=True)
class Reference:
    """The controller that an object names."""

    group: str
    kind: str
    name: str
    uid: str


def controller(value: Json) -> Reference | None:
    """The controller of an object, if it names one; whatever else stands there is passed over."""
    metadata = value.get("metadata")
    listed = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("controller") is True:
            said = {key: str(one.get(key) or "") for key in ("apiVersion", "kind", "name", "uid")}
            return Reference(said["apiVersion"].rpartition("/")[0], said["kind"], said["name"], said["uid"])
    return None


def chain(pod: Json, owners: Sequence[Json]) -> tuple[Json, ...]:
    """As many of `owners` (nearest first) as follow from each other, beginning at the pod."""
    found: list[Json] = []
    seen: set[str] = set()
    below = pod
    for owner in owners:
        reference, metadata = controller(below), owner.get("metadata")
        uid = str(metadata.get("uid") or "") if isinstance(metadata, dict) else ""
        if reference is None or not uid or reference.uid != uid or uid in seen:
            break
        if (reference.group, reference.kind) != group_kind_of(owner):
            break
        seen.add(uid)
        found.append(owner)
        below = owner
    return tuple(found)


def group_kind_of(value: Json) -> tuple[str, str]:
    """(API group, kind) of an object in which nothing is certain."""
    version, kind = value.get("apiVersion"), value.get("kind")
    return (str(version or "").rpartition("/")[0], str(kind or ""))


@dataclass(frozen=True, slots=True)
class Walk:
    """`anchor`: the object whose groups the pod is in, with what is above it; None: the pod itself, or `stray`.

    `stray` is an owner from which the groups would have to be read and cannot be: it is not known, or not there.
    """

    anchor: Json | None
    outer: tuple[Json, ...]
    stray: Reference | None = None


def walk(pod: Json, owners: Sequence[Json]) -> Walk:
    """Up from the pod, through verified `owners`."""
    nearest = controller(pod)
    best = -1
    child = POD
    for index, owner in enumerate(owners):
        key = group_kind_of(owner)
        kind = workload(key)
        if kind is None or not (child == POD or kind.made(child)):
            break
        if not kind.through and (key != POD or label(owner, "spark-app-selector")):
            best = index
        child = key
    else:
        above = controller(owners[-1]) if owners else None
        if above is not None and _wanted(above, child):
            return Walk(None, tuple(owners), stray=above)
    if best >= 0:
        return Walk(owners[best], tuple(owners[best + 1 :]))
    if nearest is None:
        return Walk(None, tuple(owners))
    key = (nearest.group, nearest.kind)
    kind = workload(key)
    if key in _ALONE or (kind is not None and kind.through):
        return Walk(None, tuple(owners))
    return Walk(None, tuple(owners), stray=nearest)


def _wanted(above: Reference, child: tuple[str, str]) -> bool:
    """Whether an owner that is not there would have had the groups of what it made."""
    kind = workload((above.group, above.kind))
    says_enough = child in _ALONE or child == _GANG_BY_ITSELF
    return kind is not None and not kind.through and kind.made(child) and not says_enough


_ALONE = frozenset(
    (
        ("apps", "ReplicaSet"),
        ("apps", "Deployment"),
        ("apps", "DaemonSet"),
        ("", "ReplicationController"),
        ("", "Pod"),
        ("", "Node"),
    )
)
"""Owners whose pods are each on their own whatever the object says, should it not be there (a Node: static pods)."""

_GANG_BY_ITSELF = ("leaderworkerset.x-k8s.io", "LeaderWorkerSet")
