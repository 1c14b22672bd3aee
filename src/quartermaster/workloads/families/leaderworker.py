"""LeaderWorkerSet, a gang per index; DisaggregatedSet, a gang per slice.

Under ``LeaderReady`` the workers of an index are made when its leader is Ready: then the leader starts alone. A slice
starts with one group of each role; the others are more of the same and come when there is room.
"""

from __future__ import annotations

from typing import Any

from quartermaster.workloads.fields import annotation, count, few, items, label, mapping, text
from quartermaster.workloads.group import Closeness, Group, Json, Role
from quartermaster.workloads.reading import Reading
from quartermaster.workloads.wishes import closeness

PREFIX = "leaderworkerset.sigs.k8s.io/"
_LEADER_NEXT = "leader Ready"


def leader_worker_set(read: Reading) -> tuple[Group, ...]:
    """So many equal gangs as it has replicas."""
    groups = count(read.spec, "replicas", 1, where="spec")
    leader, worker, waits = _roles(read.spec, "spec", read.top)
    if not groups:
        return ()
    key = annotation(read.top, PREFIX + "exclusive-topology")
    if text(read.spec, "groupPlacementPolicy.type", where="spec") in ("Colocated", "Exclusive"):
        key = key or text(read.spec, "groupPlacementPolicy.topologyKey", where="spec")
    more: dict[str, Any] = {"each": "index", "copies": groups, "topology": Closeness(required=key) if key else None}
    if not waits or not worker.desired:
        roles = [role for role in (leader, worker) if role.desired]
        return (read.gang(roles, why=["one gang per group index: its leader and all its workers"], **more),)
    first = read.gang([leader], why=["LeaderReady: workers are made when the leader is Ready"], **more)
    why = ["made when the leader of its index is Ready: room for both is needed"]
    return first, read.gang([worker], suffix="-workers", phase=2, after=_LEADER_NEXT, why=why, **more)


def _roles(spec: Json, where: str, top: Json) -> tuple[Role, Role, bool]:
    template = mapping(spec, "leaderWorkerTemplate", where=where)
    inside = f"{where}.leaderWorkerTemplate"
    size = max(1, count(template, "size", 1, where=inside))
    workers = mapping(template, "workerTemplate", where=inside)
    leaders = mapping(template, "leaderTemplate", where=inside) or workers
    waits = text(spec, "startupPolicy", where=where) == "LeaderReady"
    leader = Role.of("leader", 1, template=leaders)
    part = count(template, "subGroupPolicy.subGroupSize", 0, where=inside)
    key = annotation(top, PREFIX + "subgroup-exclusive-topology")
    if key and part and size - 1 > part:
        near = Closeness(required=key)
        few(size // part, f"{inside}.size")
        cuts = range(0, size - 1, part)
        parts = tuple(
            Role.of(str(number), min(part, size - 1 - start), topology=near) for number, start in enumerate(cuts)
        )
        return leader, Role.split("worker", parts, template=workers), waits
    return leader, Role.of("worker", size - 1, template=workers), waits


def disaggregated_set(read: Reading) -> tuple[Group, ...]:
    """A gang per slice, in which each role has as many groups as it has replicas and needs one of them."""
    slices = count(read.spec, "slices", 1, where="spec")
    first: list[Role] = []
    then: list[Role] = []
    for where, role in items(read.spec, "roles", where="spec"):
        name = text(role, "name", where=where) or "role"
        spec = mapping(role, "spec", where=where)
        leader, worker, waits = _roles(spec, f"{where}.spec", role)
        number = count(spec, "replicas", 1, where=f"{where}.spec")
        size = 1 if waits else 1 + worker.desired
        if few(number, f"{where}.spec.replicas"):
            first.append(_role(name, number, size, leader.template))
            if waits and worker.desired:
                then.append(_role(f"{name}-workers", number, worker.desired, worker.template))
    if not first or not slices:
        return ()
    why = ["one gang per slice: one group of every role must be there, the others come when there is room"]
    found = [read.gang(first, each="index", copies=slices, why=why)]
    if then:
        why = ["made when the leaders of the slice are Ready: room for both is needed"]
        later: dict[str, Any] = {"phase": 2, "after": _LEADER_NEXT, "each": "index", "copies": slices}
        found.append(read.gang(then, suffix="-workers", why=why, **later))
    return tuple(found)


def _role(name: str, number: int, size: int, template: Json | None) -> Role:
    near = closeness(template)  # of each group: that is what Kueue admits by itself
    parts = tuple(Role.of(str(part), size, topology=near) for part in range(number))
    return Role.split(name, parts, least=1, template=template)


def seat(pod: Json) -> tuple[str, int | None]:
    """(leader or worker, index among the workers)."""
    index = label(pod, PREFIX + "worker-index")
    if not index.isdecimal():
        return "", None
    return ("leader", 0) if int(index) == 0 else ("worker", int(index) - 1)


def copy(pod: Json) -> str:
    """The index of its group."""
    return label(pod, PREFIX + "group-index")
