"""Grove, and Dynamo on it: cliques of pods, cliques that scale together, and a gang of what must serve at once.

The base gang of a PodCliqueSet replica is its cliques and the least number of replicas of each scaling group. Every
further replica of a scaling group is a gang of its own, which Grove holds back until the base gang has been placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quartermaster.workloads.fields import annotation, at, count, few, items, label, mapping, optional, text
from quartermaster.workloads.group import Closeness, Group, Json, Role
from quartermaster.workloads.reading import Reading

PREFIX = "grove.io/"
_BASE = "base gang placed"


def pod_clique_set(read: Reading) -> tuple[Group, ...]:
    """The base gang of every replica, and the scaled gangs after it."""
    template = mapping(read.spec, "template", where="spec")
    replicas = count(read.spec, "replicas", 1, where="spec")
    cliques = {
        text(clique, "name"): (where, clique) for where, clique in items(template, "cliques", where="spec.template")
    }
    path = "podCliqueScalingGroups" if at(template, "podCliqueScalingGroups") else "podCliqueScalingGroupConfigs"
    scaling = list(items(template, path, where="spec.template"))
    in_groups = {name for _, group in scaling for name in _names(group)}
    more: dict[str, Any] = {
        "priority": text(template, "priorityClassName", where="spec.template"),
        "topology": _near(template),
        "each": "index",
        "copies": replicas,
    }
    base = [_clique(where, clique) for name, (where, clique) in cliques.items() if name not in in_groups]
    scaled: list[tuple[str, int, list[Role]]] = []
    for where, group in scaling:
        name = text(group, "name", where=where)
        size = count(group, "replicas", 1, where=where)
        few(size * max(1, replicas), f"{where}.replicas")
        needed = min(count(group, "minAvailable", 1, where=where), size)
        near = _near(group)
        roles = [_clique(*cliques[clique], near=near) for clique in _names(group) if clique in cliques]
        base += [_several(role, needed, near) for role in roles]
        scaled.append((name, size - needed, roles))
    if not replicas or not any(role.desired for role in base):
        return ()
    why = ["the base gang: all cliques, and the least number of replicas of each scaling group"]
    found = [read.gang(base, why=why, **more)]
    for name, extra, roles in scaled:
        why = [f"one more replica of the scaling group {name}: it is held back until the base gang is placed"]
        found += [
            read.gang(roles, suffix=f"-{name}-{number}", phase=2, after=_BASE, why=why, **more)
            for number in range(extra)
        ]
    return tuple(found)


def _names(group: Json) -> list[str]:
    listed = at(group, "cliqueNames")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def _clique(where: str, clique: Json, near: Closeness | None = None) -> Role:
    size = count(clique, "spec.replicas", 1, where=where)
    pod = {
        "metadata": {key: mapping(clique, key, where=where) for key in ("labels", "annotations")},
        "spec": mapping(clique, "spec.podSpec", where=where),
    }
    scale = "spec.autoScalingConfig" if at(clique, "spec.autoScalingConfig") is not None else "spec.scaleConfig"
    return Role.of(
        text(clique, "name", where=where),
        size,
        least=optional(clique, "spec.minAvailable", where=where),
        most=optional(clique, f"{scale}.maxReplicas", where=where),
        topology=_near(clique) or near,
        template=pod,
    )


def _several(role: Role, times: int, near: Closeness | None) -> Role:
    """A clique of a scaling group of which `times` replicas are in the base gang."""
    if times == 1:
        return role
    part = [
        Role.of(str(number), role.desired, least=role.min, topology=role.topology or near) for number in range(times)
    ]
    return Role.split(role.name, tuple(part), template=role.template)


def _near(value: Json) -> Closeness | None:
    constraint = mapping(value, "topologyConstraint")
    found = Closeness(
        topology=text(constraint, "topologyName"),
        required=text(constraint, "pack.required") or text(constraint, "packDomain"),
        preferred=text(constraint, "pack.preferred"),
    )
    return found if found.required or found.preferred else None


def pod_clique(read: Reading) -> tuple[Group, ...]:
    """A clique whose set cannot be seen."""
    pod = {"spec": mapping(read.spec, "podSpec", where="spec")}
    size = count(read.spec, "replicas", 1, where="spec")
    needed = optional(read.spec, "minAvailable", where="spec")
    if not size:
        return ()
    return (read.gang([Role.of(read.name, size, least=needed, template=pod)], why=["a clique starts together"]),)


def dynamo(read: Reading) -> tuple[Group, ...]:
    """One replica of every service must be there; those over several nodes come whole."""
    roles: list[Role] = []
    extra: list[tuple[str, int, Role]] = []
    for name, where, service in _services(read):
        size = count(service, "replicas", 1, where=where)
        nodes = max(1, count(service, "multinode.nodeCount", 1, where=where))
        pod = mapping(service, "extraPodSpec", where=where)
        marks = {key: mapping(service, key, where=where) for key in ("labels", "annotations")}
        template = {"metadata": marks, "spec": pod}
        high = optional(service, "autoscaling.maxReplicas", where=where)
        if not size:
            continue
        if nodes == 1:
            roles.append(Role.of(name, size, least=1, most=high, template=template))
        else:
            one = Role.of(name, nodes, template=template)
            roles.append(one)
            extra.append((name, few(size, f"{where}.replicas") - 1, one))
    if not roles:
        return ()
    why = ["one replica of every service must be there; those over several nodes come whole"]
    if annotation(read.top, "nvidia.com/enable-grove") == "false":
        why.append("without Grove, each service is grouped by the object that it becomes")
    found = [read.gang(roles, why=why)]
    for name, more, role in extra:
        said = [f"one more replica of {name}, over {role.desired} nodes"]
        found += [
            read.gang([role], suffix=f"-{name}-{number}", phase=2, after=_BASE, why=said) for number in range(more)
        ]
    return tuple(found)


def _services(read: Reading) -> Sequence[tuple[str, str, Json]]:
    """``spec.services`` is a map; newer versions list ``spec.components``."""
    named = mapping(read.spec, "services", where="spec")
    found = [(name, f"spec.services.{name}", mapping(named, name, where="spec.services")) for name in named]
    for where, one in items(read.spec, "components", where="spec"):
        found.append((text(one, "name", where=where) or text(one, "componentName", where=where), where, one))
    return found


def component(read: Reading) -> tuple[Group, ...]:
    """A service of Dynamo that became a Deployment or a LeaderWorkerSet, which cannot be seen."""
    size = count(read.spec, "replicas", 1, where="spec")
    nodes = max(1, count(read.spec, "multinode.nodeCount", 1, where="spec"))
    if nodes == 1:
        return read.singles("main", size, None, why=["pods serve each on its own"])
    roles = [Role.of("main", nodes)]
    return (read.gang(roles, each="index", copies=size, why=["nodes of one replica start together"]),) if size else ()


def seat(pod: Json) -> tuple[str, int | None]:
    """The clique, whose label is its name behind those of its set and scaling group; and its index."""
    index = label(pod, PREFIX + "podcliquescalinggroup-replica-index")
    return label(pod, PREFIX + "podclique"), int(index) if index.isdecimal() else None


def copy(pod: Json) -> str:
    """The replica of the set."""
    return label(pod, PREFIX + "podcliqueset-replica-index")
