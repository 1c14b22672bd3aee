"""Volcano's own Job: tasks, how many of them in all, and which of them wait for others.

``minAvailable`` counts pods of any task, unless tasks say what they need themselves. Tasks that wait (``dependsOn``)
are made later, so a minimum that reaches into them is cut into phases; one that is met by the first tasks alone leaves
the later ones as more of the same group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from quartermaster.workloads.fields import at, count, few, items, label, mapping, optional, seconds, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading, shared_out
from quartermaster.workloads.wishes import network_topology


def job(read: Reading) -> tuple[Group, ...]:
    """Its gang, or one for each phase that it needs pods of."""
    roles, waits = _tasks(read)
    total = sum(role.desired for role in roles.values())
    if not total:
        return ()
    own = sum(role.min for role in roles.values())
    asked = optional(read.spec, "minAvailable", where="spec")
    needed = min(asked, total) if asked else own
    phases = _phases(roles, waits)
    if len(phases) == 1:
        first = list(roles.values())
        pooled = needed < own and len(first) > 1
        if needed != own:
            first = _shared(first, needed)
        return (_gang(read, first, pooled=pooled, why=[f"needs {sum(r.min for r in first)} of {total} pods"]),)
    return _in_phases(read, phases, needed)


def _in_phases(read: Reading, phases: Sequence[Sequence[Role]], needed: int) -> tuple[Group, ...]:
    """Phases in order, each needing what is left of the minimum; what needs nothing joins the one before."""
    parts: list[tuple[list[Role], bool]] = []
    left = needed
    for roles in phases:
        own = sum(role.min for role in roles)
        most = sum(role.desired for role in roles)
        take = min(own, left)
        if left > own:
            take = min(most, own if len(phases) > 1 else left)
        left -= take
        shared = _shared(list(roles), take) if take != own else list(roles)
        if parts and not take:
            parts[-1][0].extend(shared)
        else:
            parts.append((shared, take < own and len(roles) > 1))
    if len(parts) == 1:
        why = ["its later tasks are made when the first run: they are not needed to start"]
        return (_gang(read, parts[0][0], pooled=False, why=why),)
    found = []
    for number, (shared, pooled) in enumerate(parts, start=1):
        names = "-".join(role.name for role in shared)
        after = ", ".join(role.name for role in parts[number - 2][0]) + " Running" if number > 1 else ""
        why = [f"phase {number} of {len(parts)}: its tasks are made {f'after {after}' if after else 'first'}"]
        found.append(_gang(read, shared, pooled=pooled, why=why, suffix=f"-{names}", phase=number, after=after))
    return tuple(found)


def _tasks(read: Reading) -> tuple[dict[str, Role], dict[str, list[str]]]:
    roles: dict[str, Role] = {}
    waits: dict[str, list[str]] = {}
    for number, (where, task) in enumerate(items(read.spec, "tasks", where="spec")):
        name = text(task, "name", where=where) or f"default{number}"
        size = count(task, "replicas", 1, where=where)
        template = mapping(task, "template", where=where)
        needed = optional(task, "minAvailable", where=where)
        policy = mapping(task, "partitionPolicy", where=where)
        cut = count(policy, "partitionSize", 0, where=f"{where}.partitionPolicy")
        if cut and 0 < cut < size:
            roles[name] = _cut(name, size, cut, policy, template)
        else:
            roles[name] = Role.of(name, size, least=needed, template=template)
        before = at(task, "dependsOn.name")
        waits[name] = [str(one) for one in before] if isinstance(before, list) else []
    return roles, waits


def _cut(name: str, size: int, cut: int, policy: Json, template: Json) -> Role:
    near, least = network_topology(mapping(policy, "networkTopology")), optional(policy, "minPartitions")
    few(size // cut, f"partitions of task '{name}'")
    parts = tuple(
        Role.of(str(number), min(cut, size - start), topology=near) for number, start in enumerate(range(0, size, cut))
    )
    return Role.split(name, parts, least=least, template=template)


def _phases(roles: dict[str, Role], waits: dict[str, list[str]]) -> list[list[Role]]:
    depths: dict[str, int] = {}

    def depth(name: str, path: frozenset[str]) -> int:
        if name not in depths:
            before = [other for other in waits[name] if other in roles and other not in path]
            depths[name] = 1 + max((depth(other, path | {name}) for other in before), default=0)
        return depths[name]

    for name in roles:
        depth(name, frozenset((name,)))
    return [[roles[name] for name in roles if depths[name] == level] for level in sorted(set(depths.values()))]


def _shared(roles: Sequence[Role], needed: int) -> list[Role]:
    """Earlier tasks first; parts of a task are then no longer needed whole."""
    return list(shared_out([replace(role, parts=(), min_parts=0) for role in roles], needed))


def _gang(read: Reading, roles: Sequence[Role], *, pooled: bool, why: Sequence[str], **more: Any) -> Group:
    return read.gang(
        roles,
        why=why,
        pooled=pooled,
        queue=text(read.spec, "queue", where="spec"),
        priority=text(read.spec, "priorityClassName", where="spec"),
        topology=network_topology(mapping(read.spec, "networkTopology", where="spec")),
        runtime=seconds(text(read.spec, "runningEstimate", where="spec"), "spec.runningEstimate"),
        **more,
    )


def cron_job(read: Reading) -> tuple[Group, ...]:
    """Each firing is a Job of its own."""
    child = {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        **mapping(read.spec, "jobTemplate", where="spec"),
    }
    return read.within(child, where="spec.jobTemplate", per="firing")


def seat(pod: Json) -> tuple[str, int | None]:
    """(task, index)."""
    index = label(pod, "volcano.sh/task-index")
    task = label(pod, "volcano.sh/task-spec") or mapping(pod, "metadata.annotations").get("volcano.sh/task-spec", "")
    return str(task), int(index) if index.isdecimal() else None
