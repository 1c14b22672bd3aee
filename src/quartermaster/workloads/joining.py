"""Groups that pods name, from both sides: an owner's pods that enter one, and the object that says what it is.

`external.py` knows what the objects of the several projects say; here it is decided whether pods may join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from quartermaster.workloads.catalogue import Kind
from quartermaster.workloads.external import NATIVE, OWN, Declared, Named, declared, joined, named, settled
from quartermaster.workloads.fields import count, items, mapping, name_of, optional, text
from quartermaster.workloads.group import Bring, Group, Joined, Json, Role
from quartermaster.workloads.reading import Reading
from quartermaster.workloads.wishes import Lookup, wishes


def outside(group: Group, read: Reading) -> Group:
    """The group, or its share of the one that its pods name."""
    if group.joined is not None:
        return group
    bare = read.kind.key == ("", "Pod")
    names = [named(role.template, bare=bare) for role in group.roles]
    asked = next((name for name in names if name is not None), None)
    if asked is None or not group.desired:
        return group
    if any((name.api, name.name) != (asked.api, asked.name) if name else True for name in names):
        return replace(group, why=(*group.why, f"only some of its pods name the group {asked.name}: not joined"))
    brings = [
        Bring(
            owner=role.name, count=role.desired * group.copies, role=name.part if name else "", template=role.template
        )
        for role, name in zip(group.roles, names, strict=True)
    ]
    return enter(group, asked, brings, owners=read.owners, lookup=read.lookup, bare=bare)


def enter(
    group: Group, asked: Named, brings: Sequence[Bring], *, owners: Sequence[Json], lookup: Lookup, bare: bool
) -> Group:
    """`group` as its share of the group that its pods ask for, where they may join it; else as it is, and why."""
    size = sum(one.count for one in brings)
    if asked.api == OWN and lookup(asked.api, asked.kind, group.namespace, asked.name) is None:
        asked = replace(asked, api="")  # a name is enough, an object may say more
    if not asked.api:
        least = asked.size if asked.size is not None else size
        said = f"its pods share the name {asked.name}" + ("" if asked.size is None else f", {asked.size} of them")
        found = joined(group, asked, Declared(least=least), brings=brings, why=said)
        return replace(found, open=asked.size is None)
    value = lookup(asked.api, asked.kind, group.namespace, asked.name)
    said = f"the {asked.kind} {asked.name} ({asked.api}), which its pods name,"
    if value is None:
        if not bare:
            return replace(group, why=(*group.why, f"{said} is not here: grouped by their owner"))
        alone = joined(group, asked, Declared(least=size), brings=brings, why=f"{said} is not here: all that name it")
        return replace(alone, open=True)
    found_ = declared(value, asked.part, lookup)
    if found_ is None:
        return replace(group, why=(*group.why, f"{said} asks for no gang"))
    uids = {text(owner, "metadata.uid") for owner in owners}
    if found_.owner and found_.owner not in uids:
        return replace(group, why=(*group.why, f"{said} belongs to another owner: not joined"))
    if found_.owner and asked.api != NATIVE:
        return group  # made for this very owner by another scheduler: the owner itself says more
    return joined(group, asked, found_, brings=brings, why=f"{said} says how many start together")


def of_object(top: Json, kind: Kind, lookup: Lookup) -> tuple[Group, ...]:
    """A group object by itself: what it asks for, with pods that are still to come."""
    if kind.key == ("kueue.x-k8s.io", "Workload"):
        return _kueue(top, kind, lookup)
    if kind.key == ("scheduling.k8s.io", "Workload"):
        listed = [text(one, "name") for _, one in items(top, "spec.podGroups", where="")]
        return tuple(group for part in listed for group in _declared(top, kind, part, lookup))
    return _declared(top, kind, "", lookup)


def _declared(top: Json, kind: Kind, part: str, lookup: Lookup) -> tuple[Group, ...]:
    found = declared(top, part, lookup)
    if found is None:
        return ()
    name = f"{name_of(top)}-{part}" if part else name_of(top)
    asked = wishes([top], [], kind, lookup, queue=found.queue, priority=found.priority)
    fields = asked.fields()
    if found.preemptible is not None:
        fields["preemptible"] = found.preemptible
    fields["topology"] = found.topology or fields["topology"]
    joins = Joined(min=found.least, declared=found.roles)
    group = Group(
        name=name,
        namespace=text(top, "metadata.namespace"),
        kind="PodGroup",
        joined=joins,
        why=("pods that name it belong to it", *asked.why),
        **settled(joins),
        **fields,
    )
    return (group,)


def _kueue(top: Json, kind: Kind, lookup: Lookup) -> tuple[Group, ...]:
    """Kueue's Workload mirrors an object that is read itself; one without an owner says what it wants by itself."""
    if any(True for _ in items(top, "metadata.ownerReferences")):
        return ()
    roles = []
    for where, one in items(top, "spec.podSets"):
        size = count(one, "count", 1, where=where)
        template = mapping(one, "template", where=where)
        roles.append(
            Role.of(text(one, "name", where=where) or "main", size, least=optional(one, "minCount"), template=template)
        )
    if not any(role.desired for role in roles):
        return ()
    queue, priority = (
        text(top, "spec.queueName"),
        text(top, "spec.priorityClassRef.name") or text(top, "spec.priorityClassName"),
    )
    asked = wishes([top], [role.template for role in roles], kind, lookup, queue=queue, priority=priority)
    group = Group(
        name=name_of(top),
        namespace=text(top, "metadata.namespace"),
        kind=kind.kind,
        uid=text(top, "metadata.uid"),
        roles=tuple(roles),
        why=("its pod sets are admitted together", *asked.why),
        **asked.fields(),
    )
    return (group,)
