"""Groups that pods name: a PodGroup of KAI, Volcano, coscheduling or Kubernetes itself, or just a name they share.

Whoever may label a pod may write any name, so a group object that another owner controls is never joined, and a plain
name joins only pods of one namespace that all say it. An object that is not there holds nobody for ever: the owner's
own groups hold then, or those that name it are taken together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quartermaster.workloads.fields import (
    annotation,
    at,
    count,
    items,
    label,
    mapping,
    mark,
    marked_count,
    optional,
    seconds,
    text,
)  # fmt: skip
from quartermaster.workloads.group import Bring, Closeness, Group, Joined, Json, Role
from quartermaster.workloads.wishes import (
    GROUP,
    LEAST,
    SUB_GROUP,
    Lookup,
    closeness,
    network_topology,
    topology_constraint,
)

ELSEWHERE = "elsewhere"
NATIVE = "scheduling.k8s.io"
OWN = "quartermaster.dev"
KAI, VOLCANO, COSCHEDULING = "scheduling.run.ai", "scheduling.volcano.sh", "scheduling.x-k8s.io"
KUEUE = "kueue.x-k8s.io"
KUEUE_GROUP, KUEUE_SIZE = "kueue.x-k8s.io/pod-group-name", "kueue.x-k8s.io/pod-group-total-count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a pod says of its group. An empty `api` is a name that is no object's; `size` is then how many share it."""

    api: str
    kind: str
    name: str
    part: str = ""
    replica: str = ""
    size: int | None = None


def named(pod: Json | None, *, bare: bool) -> Named | None:
    """The group that a pod, or a template, names; `bare` pods have no owner that groups them, and may use Kueue's."""
    if pod is None:
        return None
    native = text(pod, "spec.schedulingGroup.podGroupName")
    if native:
        return Named(api=NATIVE, kind="PodGroup", name=native)
    workload = text(pod, "spec.workloadRef.name")
    if workload:
        part = text(pod, "spec.workloadRef.podGroup")
        replica = text(pod, "spec.workloadRef.podGroupReplicaKey")
        return Named(api=NATIVE, kind="Workload", name=workload, part=part, replica=replica)
    ours = mark(pod, GROUP)
    if ours:
        part = label(pod, SUB_GROUP)
        return Named(api=OWN, kind="PodGroup", name=ours, part=part, size=marked_count(pod, *LEAST))
    kai = annotation(pod, "pod-group-name")
    if kai:
        return Named(api=KAI, kind="PodGroup", name=kai, part=label(pod, "kai.scheduler/subgroup-name"))
    volcano = annotation(pod, "scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name")
    if volcano:
        return Named(api=VOLCANO, kind="PodGroup", name=volcano, part=label(pod, "volcano.sh/task-spec"))
    other = label(pod, "scheduling.x-k8s.io/pod-group", "pod-group.scheduling.sigs.k8s.io")
    if other:
        return Named(api=COSCHEDULING, kind="PodGroup", name=other)
    spark = label(pod, "spark-app-selector") if bare else ""
    if spark and label(pod, "spark-role"):
        return Named(api="", kind="PodGroup", name=spark, size=1)
    kueue = label(pod, KUEUE_GROUP) if bare else ""
    if kueue:
        return Named(api="", kind="PodGroup", name=kueue, size=marked_count(pod, KUEUE_SIZE))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a group object says."""

    least: int
    roles: tuple[Role, ...] = ()
    queue: str = ""
    priority: str = ""
    preemptible: bool | None = None
    topology: Closeness | None = None
    owner: str = ""
    times: Mapping[str, float] = field(default_factory=dict)
    """Fields of a `Group` in seconds."""


def declared(value: Json, part: str = "", lookup: Lookup | None = None) -> Declared | None:
    """Of an object; None if it asks for no gang."""
    api = text(value, "apiVersion").rpartition("/")[0]
    spec = mapping(value, "spec")
    owner = next(
        (str(one.get("uid", "")) for _, one in items(value, "metadata.ownerReferences") if one.get("controller")), ""
    )
    if api == NATIVE:
        found = _native(value, spec, part, lookup)
        return replace(found, owner=owner) if found else None
    queue, priority = text(spec, "queue"), text(spec, "priorityClassName")
    if api == OWN:
        return replace(_own(spec), queue=queue, priority=priority, owner=owner)
    if api == KAI:
        said = text(spec, "preemptibility")
        roles = _kai_parts(spec, "")
        least = max(count(spec, "minMember", 0), sum(role.min for role in roles))
        if roles and optional(spec, "minSubGroup") is not None:
            whole = Role.split("", roles, least=optional(spec, "minSubGroup"))
            roles = roles if whole.min_parts == len(roles) else (replace(whole, name="sub-groups"),)
            least = whole.min
        return Declared(
            least=least or 1,
            roles=roles,
            queue=queue,
            priority=priority,
            preemptible=None if not said else said != "non-preemptible",
            topology=topology_constraint(mapping(spec, "topologyConstraint")),
            owner=owner,
        )
    tasks = mapping(spec, "minTaskMember")
    return Declared(
        least=count(spec, "minMember", 1),
        roles=tuple(Role.of(str(name), count(tasks, name, 0, where="spec.minTaskMember")) for name in tasks),
        queue=queue,
        priority=priority,
        topology=network_topology(mapping(spec, "networkTopology")),
        owner=owner,
    )


def _own(spec: Json) -> Declared:
    """A PodGroup of ours: `min` counts pods, or the sub-groups right below."""
    roles = _own_parts(spec, "")
    listed = {name for role in roles for name in _names(role)}
    # What is its own ancestor has no place in the tree, and is needed all the same.
    astray = [part for _, part in items(spec, "subGroups", where="spec") if text(part, "name") not in listed]
    roles += tuple(Role.of(text(part, "name"), optional(part, "min") or 0) for part in astray)
    needed = optional(spec, "min")
    least = 0 if roles or needed is None else needed
    if roles:
        whole = Role.split("sub-groups", roles, least=needed)
        roles, least = roles if whole.min_parts == len(roles) else (whole,), whole.min
    preemptible = spec.get("preemptible")
    said = {name: text(spec, key) for name, key in _TIMES}
    return Declared(
        least=least,
        roles=roles,
        preemptible=preemptible if isinstance(preemptible, bool) else None,
        topology=_own_topology(spec, ""),
        times={name: found for name, value in said.items() if (found := seconds(value, f"spec: {name}")) is not None},
    )


_TIMES = (
    ("preemption_delay", "preemptionDelay"),
    ("staleness_grace", "stalenessGrace"),
    ("runtime", "runtime"),
    ("max_runtime", "maxRuntime"),
)


def _own_parts(spec: Json, parent: str, above: frozenset[str] = frozenset()) -> tuple[Role, ...]:
    found = []
    for where, part in items(spec, "subGroups", where="spec"):
        name = text(part, "name", where=where)
        if text(part, "parent", where=where) != parent or name in above or not name:
            continue
        near, needed = _own_topology(part, where), optional(part, "min", where=where)
        children = _own_parts(spec, name, above | {name})
        if children:
            found.append(Role.split(name, children, least=needed, topology=near))
        else:
            found.append(Role.of(name, needed or 0, topology=near))
    return tuple(found)


def _names(role: Role) -> Iterator[str]:
    yield role.name
    for part in role.parts:
        yield from _names(part)


def _own_topology(value: Json, where: str) -> Closeness | None:
    asked = mapping(value, "topology", where=where)
    found = Closeness(
        topology=text(asked, "topology"), required=text(asked, "required"), preferred=text(asked, "preferred")
    )
    return found if found.required or found.preferred else None


def _kai_parts(spec: Json, parent: str, above: frozenset[str] = frozenset()) -> tuple[Role, ...]:
    """KAI's list of sub-groups as the tree that their parents make of it."""
    found = []
    for where, part in items(spec, "subGroups", where="spec"):
        name = text(part, "name", where=where)
        if text(part, "parent", where=where) != parent or name in above or not name:
            continue
        near = topology_constraint(mapping(part, "topologyConstraint", where=where))
        children = _kai_parts(spec, name, above | {name})
        if children:
            needed = optional(part, "minSubGroup", where=where)
            found.append(Role.split(name, children, least=needed, topology=near))
        else:
            found.append(Role.of(name, count(part, "minMember", 1, where=where), topology=near))
    return tuple(found)


def _native(value: Json, spec: Json, part: str, lookup: Lookup | None) -> Declared | None:
    """A PodGroup of Kubernetes, or one that an early Workload lists; basic groups are no gangs."""
    if text(value, "kind") == "Workload":
        listed = [one for path in ("podGroups", "podGroupTemplates") for _, one in items(spec, path, where="spec")]
        chosen = next((one for one in listed if text(one, "name") == part or not part), None)
        spec = chosen or {}
    policy = mapping(spec, "schedulingPolicy") or mapping(spec, "policy")
    template = mapping(spec, "podGroupTemplateRef.workload")
    if not policy and template and lookup is not None:
        workload = lookup(NATIVE, "Workload", text(value, "metadata.namespace"), text(template, "workloadName"))
        if workload:
            found = _native(workload, mapping(workload, "spec"), text(template, "podGroupTemplateName"), None)
            if found is not None:
                return found
    if at(policy, "gang") is None:
        return None
    near = next((text(one, "key") for _, one in items(spec, "schedulingConstraints.topology")), "")
    return Declared(
        least=count(policy, "gang.minCount", 1, where="spec.schedulingPolicy"),
        priority=text(spec, "priorityClassName"),
        topology=Closeness(required=near) if near else closeness(value),
    )


# ---- who brings pods


def joined(group: Group, name: Named, found: Declared, *, brings: Sequence[Bring], why: str) -> Group:
    """`group`, read from the pods' own owner, as its share of the group that they name."""
    joins = Joined(min=found.least, declared=found.roles, brings=tuple(brings))
    changes = settled(joins)
    if found.queue:
        changes["queue"] = found.queue
    if found.priority:
        changes["priority_class"] = found.priority
        changes["priority"] = None
    if found.preemptible is not None:
        changes["preemptible"] = found.preemptible
    if found.topology is not None:
        changes["topology"] = found.topology
    changes |= found.times
    return replace(
        group,
        name="-".join(filter(None, (name.name, name.part if name.kind == "Workload" else "", name.replica))),
        kind="PodGroup",
        uid="",
        phase=1,
        after="",
        each="",
        copies=1,
        index=None,
        per="",
        joined=joins,
        why=(why, *group.why[1:]),
        **changes,
    )


def settled(joins: Joined) -> dict[str, Any]:
    """The roles of a joined group: those declared, filled by who brings pods; or one per bringer, any of which do."""
    if joins.declared:
        roles = _filled(joins.declared, joins.brings)
        short = joins.min - sum(role.min for role in roles)
        if short <= 0:
            return {"roles": roles, "pooled": False}
        spare = sum(role.desired - role.min for role in roles)
        if spare < short:
            more = short - spare
            roles = (*roles, Role.of(ELSEWHERE, more))
            short -= more
        return {"roles": _raised(roles, short), "pooled": True}  # the rest may be pods of any of them
    names: dict[str, tuple[int, Json | None]] = {}
    for one in joins.brings:
        size, template = names.get(one.owner, (0, one.template))
        names[one.owner] = (size + one.count, template)
    left, found = joins.min, []
    for owner, (size, template) in names.items():
        take = min(size, left)
        left -= take
        found.append(Role.of(owner, size, least=take, template=template))
    if left:
        found.append(Role.of(ELSEWHERE, left))
    return {"roles": tuple(found), "pooled": len(found) > 1}


def _filled(roles: tuple[Role, ...], brings: Sequence[Bring]) -> tuple[Role, ...]:
    found = []
    for role in roles:
        if role.parts:
            parts = _filled(role.parts, brings)
            found.append(Role.split(role.name, parts, least=role.min_parts, topology=role.topology))
            continue
        mine = [one for one in brings if one.role == role.name]
        size = max(role.min, sum(one.count for one in mine))
        template = next((one.template for one in mine), None)
        found.append(Role.of(role.name, size, least=role.min, topology=role.topology, template=template))
    return tuple(found)


def _raised(roles: tuple[Role, ...], more: int) -> tuple[Role, ...]:
    found = []
    for role in roles:
        take = 0 if role.parts else min(role.desired - role.min, more)
        more -= take
        found.append(replace(role, min=role.min + take))
    return tuple(found)


def merged(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups that several objects belong to, once, with the pods of all; in the order in which they first come."""
    found: dict[str, Group] = {}
    for group in groups:
        before = found.get(group.key) if group.joined is not None else None
        if before is None or before.joined is None or group.joined is None:
            found.setdefault(group.key if group.joined is not None else f"{len(found)}!{group.key}", group)
            continue
        joins = Joined(
            min=max(before.joined.min, group.joined.min),
            declared=before.joined.declared or group.joined.declared,
            brings=before.joined.brings + group.joined.brings,
        )
        found[group.key] = replace(before, joined=joins, **settled(joins))
    return tuple(found.values())
