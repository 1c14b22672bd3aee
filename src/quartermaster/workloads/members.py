"""A live pod and its owners -> the group that it is in, and its place there. Never an error, and never no group.

The group comes from the object, the place from the pod's labels (`places.py`). What cannot be read is grouped by its
nearest owner: all pods that are there when it starts are needed, since a gang that starts by half wastes what it holds,
while pods that do not exist are never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from quartermaster.model.errors import InvalidInput
from quartermaster.workloads.catalogue import KINDS, TRAIN, Kind
from quartermaster.workloads.external import Named, declared, named
from quartermaster.workloads.families import kubeflow
from quartermaster.workloads.fields import text
from quartermaster.workloads.group import Bring, Group, Json, Member, Role
from quartermaster.workloads.grouping import described, kind_of, nowhere
from quartermaster.workloads.joining import enter
from quartermaster.workloads.owners import Reference, Walk, chain, group_kind_of, walk
from quartermaster.workloads.places import Seat, chosen, seated
from quartermaster.workloads.wishes import Lookup, least, wishes

PODS: Final = "pods"
"""The one role of a group that is known only by its pods."""

Target = tuple[str, str, str, str]
"""What a lookup is asked for: API group, kind, namespace, name."""

REMEMBERED: Final = 20_000
"""Objects whose groups are remembered before all are forgotten."""


def membership(pod: Json, owners: Sequence[Json] = (), *, lookup: Lookup = nowhere) -> Member:
    """Where a pod belongs. `owners`: its chain, nearest first, as far as it could be read; forged links are cut.

    `lookup` finds what the owners refer to. Groups with the same `key` are the same group.
    """
    return Memberships(lookup).of(pod, owners)


class _Known(NamedTuple):
    """Groups, and what was looked up to read them."""

    groups: tuple[Group, ...]
    looked_up: tuple[tuple[Target, Json | None], ...]


class Memberships:
    """`membership` of many pods. The groups of an object are read once for each of its resource versions.

    What was looked up for them (a PriorityClass, a runtime) is looked up again each time, and they are read anew when
    `lookup` gives another object than it did: objects are never changed in place.
    """

    def __init__(self, lookup: Lookup = nowhere) -> None:
        self._lookup = lookup
        self._known: dict[object, _Known] = {}

    def of(self, pod: Json, owners: Sequence[Json] = ()) -> Member:
        """Where a pod belongs."""
        try:
            verified = chain(pod, owners)
            up = walk(pod, verified)
            if up.stray is not None:
                return _of_unknown(pod, verified, up.stray, self._lookup)
            try:
                groups = () if up.anchor is None else self._described(up.anchor, up.outer)
            except InvalidInput as wrong:
                why = f"the {group_kind_of(up.anchor or pod)[1]} cannot be read: {wrong}"
                return _stray(pod, _reference(up), self._lookup, why=why)
            if up.anchor is None or not groups:
                return self._alone(pod, up)
            member = seated(pod, verified, up.anchor, groups)
            if any(group.phase > 1 for group in groups):
                return member
            return _named(member, pod, (up.anchor, *up.outer), self._lookup, bare=False)
        except InvalidInput as wrong:
            return Member(group=_one(pod, f"cannot be read: {wrong}"), role=(PODS,))

    def _described(self, anchor: Json, outer: tuple[Json, ...]) -> tuple[Group, ...]:
        return self._remembered(
            _versions((anchor, *outer)), lambda lookup: described(anchor, lookup=lookup, outer=outer)
        )

    def _remembered(self, key: object, read: Callable[[Lookup], tuple[Group, ...]]) -> tuple[Group, ...]:
        if key is None:
            return read(self._lookup)
        known = self._known.get(key)
        # All of them, whatever the first says: a caller may keep account of what a pod hangs on.
        if known is not None and all([self._lookup(*what) is found for what, found in known.looked_up]):  # noqa: C419
            return known.groups
        looked_up: dict[Target, Json | None] = {}

        def lookup(group: str, kind: str, namespace: str, name: str) -> Json | None:
            found = looked_up[group, kind, namespace, name] = self._lookup(group, kind, namespace, name)
            return found

        groups = read(lookup)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = _Known(groups, tuple(looked_up.items()))
        return groups

    def _alone(self, pod: Json, up: Walk) -> Member:
        """A pod that nobody groups, or that is a step of something: itself, or the group that it names."""
        value = {"apiVersion": "v1", "kind": "Pod", **pod}
        # Pods of one template wish for the same.
        key = _wishes_of(pod, up.outer)
        groups = self._remembered(key, lambda lookup: described(value, outer=up.outer, lookup=lookup, alone=True))
        group = groups[0]
        name, uid = text(pod, "metadata.name") or group.name, text(pod, "metadata.uid")
        role = replace(group.roles[0], template=pod)
        own = replace(group, name=name, uid=uid, namespace=text(pod, "metadata.namespace"), roles=(role,))
        return _named(Member(group=own, role=(role.name,)), pod, (pod, *up.outer), self._lookup, bare=True)


def _versions(objects: Sequence[Json]) -> object | None:
    """What tells these objects as they are from what they were; None if one of them does not say."""
    found = []
    for value in objects:
        metadata = value.get("metadata")
        uid, version = (
            (metadata.get("uid"), metadata.get("resourceVersion")) if isinstance(metadata, dict) else ("", "")
        )
        if not (isinstance(uid, str) and isinstance(version, str) and uid and version):
            return None
        found.append((uid, version))
    return tuple(found)


_MARKS: Final = ("labels", "annotations")
_WISHES: Final = ("priorityClassName", "priority", "schedulerName")


def _wishes_of(pod: Json, outer: Sequence[Json]) -> object | None:
    """All of a pod that its wishes are read from, and who may speak for it; None if something is odd about it."""
    above = _versions(outer)
    metadata, spec = pod.get("metadata"), pod.get("spec")
    if above is None or not isinstance(metadata, dict) or not isinstance(spec, dict):
        return None
    marks = [tuple(one.items()) if isinstance(one, dict) else one for one in map(metadata.get, _MARKS)]
    key = (above, *marks, *map(spec.get, _WISHES))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _reference(up: Walk) -> Reference:
    anchor = up.anchor or {}
    group, kind = group_kind_of(anchor)
    metadata = anchor.get("metadata") or {}
    return Reference(group, kind, str(metadata.get("name", "")), str(metadata.get("uid", "")))


def _of_unknown(pod: Json, owners: Sequence[Json], owner: Reference, lookup: Lookup) -> Member:
    """A pod whose owner is not known: by what the owner looks like, or with all pods that it has."""
    top = owners[0] if owners else None
    if top is not None and group_kind_of(top) not in KINDS and kind_of(top) is not None:
        groups = described(top, lookup=lookup, outer=owners[1:])
        if groups:
            role, index = kubeflow.seat(pod)
            member = chosen(pod, groups, Seat(role, index))
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
    value = lookup(asked.api, asked.kind, namespace, asked.name) if asked.api else None
    if value is None:
        return asked.size or 1
    found = declared(value, asked.part, lookup)
    return 1 if found is None or found.roles else found.least


def _paths(roles: Sequence[Role], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for role in roles:
        found.append((*above, role.name))
        found += _paths(role.parts, (*above, role.name))
    return found
