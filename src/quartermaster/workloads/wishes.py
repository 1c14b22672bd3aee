"""What a group asks for beside its pods: queue, priority, whether it may be evicted, how near its pods are to be.

Five projects have keys for the same wishes, and all of them are read; where two are given, our own comes first. The
object that the group belongs to speaks before whatever wraps it, and any of these before the pod template: a group
takes nothing from a pod that its owner has said. Whether the wish may be granted is for admission to say, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quartermaster.workloads.catalogue import CLASSES, PREEMPTIBLE_BELOW, Kind
from quartermaster.workloads.fields import annotation, at, few, label, mark, marked_count, optional, seconds, text
from quartermaster.workloads.group import Closeness, Json, Role

OURS: Final = "quartermaster.dev/"
QUEUE, GROUP, SUB_GROUP = (OURS + key for key in ("queue", "pod-group", "sub-group"))
MIN_MEMBER, PRIORITY_CLASS = (OURS + key for key in ("min-member", "priority-class"))
PREEMPTIBLE, MIN_RUNTIME, MAX_RUNTIME = (OURS + key for key in ("preemptible", "min-runtime", "max-runtime"))
TOPOLOGY, REQUIRED, PREFERRED = (OURS + key for key in ("topology", "topology-required", "topology-preferred"))
SEGMENT = OURS + "segment-size"

QUEUES: Final = (
    QUEUE,
    "kai.scheduler/queue",
    "runai/queue",
    "kueue.x-k8s.io/queue-name",
    "volcano.sh/queue-name",
    "scheduling.volcano.sh/queue-name",
    "nvidia.com/kai-scheduler-queue",
)
PRIORITIES: Final = (
    PRIORITY_CLASS,
    "priorityClassName",
    "kueue.x-k8s.io/priority-class",
    "ray.io/priority-class-name",
)
LEAST: Final = (MIN_MEMBER, "kai.scheduler/batch-min-member", "scheduling.volcano.sh/group-min-member")

Lookup = Callable[[str, str, str, str], Json | None]
"""(API group, kind, namespace, name) -> the object, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The fields of a `Group` that have nothing to do with counts."""

    queue: str
    priority_class: str
    priority: int | None
    preemptible: bool
    topology: Closeness | None
    runtime: float | None
    min_runtime: float | None
    max_runtime: float | None
    preemption_delay: float | None
    staleness_grace: float | None
    why: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """For a `Group`, but for the reasons."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "why"}


def least(*objects: Json | None) -> int | None:
    """How many must start together, where an object says so outright."""
    for value in objects:
        found = marked_count(value, *LEAST)
        if found is not None:
            return found
    return None


def wishes(
    owners: Sequence[Json],
    templates: Sequence[Json | None],
    kind: Kind,
    lookup: Lookup,
    *,
    queue: str = "",
    priority: str = "",
    runtime: float | None = None,
) -> Wishes:
    """Of a group whose object is ``owners[0]``, wrapped in the others; `queue` and `priority` are from its own spec."""
    pods = [template for template in templates if template is not None]
    speakers = [*owners, *pods]
    why: list[str] = []
    named = _first(owners, QUEUES) or queue or _first(pods, QUEUES) or _project(owners, pods)
    why.append(f"queue {named}: as it says" if named else "no queue is named: its namespace's, else the default")
    class_name, value, said = _priority(owners, pods, kind, priority, lookup)
    why.append(said)
    evictable = _first(speakers, (PREEMPTIBLE, "kai.scheduler/preemptibility", "volcano.sh/preemptable")).lower()
    preemptible = value is None or value < PREEMPTIBLE_BELOW
    if evictable:
        # Of a semi-preemptible group only what is above its minimum may go. Here it is all or none, so none.
        preemptible = evictable not in ("false", "non-preemptible", "semi-preemptible")
        why.append(("may" if preemptible else "may not") + " be evicted: as it says")
    elif not preemptible:
        why.append(f"may not be evicted: priority {value} is {PREEMPTIBLE_BELOW} or more")
    return Wishes(
        queue=named,
        priority_class=class_name,
        priority=value,
        preemptible=preemptible,
        topology=next((found for found in map(closeness, owners) if found), None),
        runtime=_runtime(owners, runtime),
        min_runtime=_time(speakers, MIN_RUNTIME),
        max_runtime=_time(speakers, MAX_RUNTIME, "kueue.x-k8s.io/max-exec-time-seconds"),
        preemption_delay=_time(speakers, "kai.scheduler/preemption-delay"),
        staleness_grace=_time(speakers, "kai.scheduler/staleness-grace-period"),
        why=tuple(why),
    )


def _first(speakers: Sequence[Json], keys: tuple[str, ...]) -> str:
    return next((found for found in (mark(speaker, *keys) for speaker in speakers) if found), "")


def _project(owners: Sequence[Json], pods: Sequence[Json]) -> str:
    """KAI's last resort: a label that is too common to be believed of anybody else's pods."""
    if not any(text(pod, "spec.schedulerName") == "kai-scheduler" for pod in pods):
        return ""
    for speaker in (*owners, *pods):
        project = label(speaker, "project")
        if project:
            pool = label(speaker, "kai.scheduler/node-pool")
            return f"{project}-{pool}" if pool else project
    return ""


def _priority(
    owners: Sequence[Json], pods: Sequence[Json], kind: Kind, of_spec: str, lookup: Lookup
) -> tuple[str, int | None, str]:
    """(class, value, why). The class of a pod counts when nobody above it names one; kinds have a default."""
    name = _first(owners, PRIORITIES) or of_spec or _first(pods, PRIORITIES)
    name = name or next((found for found in (text(pod, "spec.priorityClassName") for pod in pods) if found), "")
    given = next((found for found in (optional(pod, "spec.priority") for pod in pods) if found is not None), None)
    if name:
        found = lookup("scheduling.k8s.io", "PriorityClass", "", name)
        found = found or lookup("kueue.x-k8s.io", "WorkloadPriorityClass", "", name)
        value = at(found, "value") if found else None
        value = value if isinstance(value, int) else CLASSES.get(name, given)
        missing = "" if value is not None else ", whose value is not known here"
        return name, value, f"priority {name}: as it says{missing}"
    if given:  # 0 is what an API server writes where nobody has said anything
        return "", given, f"priority {given}: as its pods say"
    return kind.priority, CLASSES[kind.priority], f"priority {kind.priority}: default of the kind {kind.kind}"


def _time(speakers: Sequence[Json], *keys: str) -> float | None:
    found = _first(speakers, keys)
    return seconds(found, f"annotation {keys[0]}")


def _runtime(owners: Sequence[Json], of_spec: float | None) -> float | None:
    if of_spec is not None:
        return of_spec
    for owner in owners:
        for path in ("spec.activeDeadlineSeconds", "spec.runPolicy.activeDeadlineSeconds"):
            found = at(owner, path)
            if isinstance(found, int | float) and not isinstance(found, bool) and found > 0:
                return float(found)
    return None


# ---- nearness


_TIERS: Final = ("volcano.sh/network-topology-highest-tier-allowed", "volcano.sh/network-topology-highest-tier")


def closeness(value: Json | None) -> Closeness | None:
    """What the annotations of an object or pod template ask for; None if nothing."""
    if value is None:
        return None
    for topology, required, preferred in (
        (TOPOLOGY, REQUIRED, PREFERRED),
        (
            "kai.scheduler/topology",
            "kai.scheduler/topology-required-placement",
            "kai.scheduler/topology-preferred-placement",
        ),
        ("", "kueue.x-k8s.io/podset-required-topology", "kueue.x-k8s.io/podset-preferred-topology"),
    ):
        found = Closeness(
            topology=mark(value, topology), required=mark(value, required), preferred=mark(value, preferred)
        )
        if found.required or found.preferred:
            return found
    tier = mark(value, *_TIERS)
    if tier:
        hard = mark(value, "volcano.sh/network-topology-mode") != "soft"
        return Closeness(required=f"tier-{tier}") if hard else Closeness(preferred=f"tier-{tier}")
    return None


def network_topology(value: Json) -> Closeness | None:
    """Volcano's ``networkTopology``: how high a tier of HyperNodes the pods may span."""
    if not value:
        return None
    name, tier = text(value, "highestTierName"), optional(value, "highestTierAllowed")
    level = name or ("" if tier is None else f"tier-{tier}")
    if not level:
        return None
    return Closeness(preferred=level) if text(value, "mode") == "soft" else Closeness(required=level)


def topology_constraint(value: Json) -> Closeness | None:
    """KAI's ``topologyConstraint``."""
    found = Closeness(
        topology=text(value, "topology"),
        required=text(value, "requiredTopologyLevel"),
        preferred=text(value, "preferredTopologyLevel"),
    )
    return found if found.required or found.preferred else None


def placed(role: Role, *speakers: Json | None) -> Role:
    """The role with the nearness, and cut into the segments, that its pods or one of `speakers` ask for."""
    sources = (role.template, *speakers)
    apart = any(part.topology is not None for part in role.parts)  # each part for itself: not all in one domain
    near = role.topology or (None if apart else closeness(role.template))
    size, ask = _segment(sources)
    role = Role(
        name=role.name, min=role.min, desired=role.desired, max=role.max, topology=near, parts=role.parts,
        min_parts=role.min_parts, template=role.template,
    )  # fmt: skip
    if not size or ask is None or role.parts or role.desired <= size:
        return role
    few(role.desired // size, f"segments of role '{role.name}'")
    cuts = range(0, role.desired, size)
    parts = tuple(
        Role.of(str(number), min(size, role.desired - start), topology=ask) for number, start in enumerate(cuts)
    )
    return Role.split(
        role.name, parts, least=-(-role.min // size), most=role.max, topology=near, template=role.template
    )


def nearness(value: Json | None) -> bool:
    """Whether an object or pod template asks for its pods to be near each other, all of them or in segments."""
    return closeness(value) is not None or _segment((value,))[1] is not None


def _segment(speakers: Sequence[Json | None]) -> tuple[int, Closeness | None]:
    for value in speakers:
        size = marked_count(value, SEGMENT, "kai.scheduler/segment-size", "kueue.x-k8s.io/podset-slice-size")
        if not size:
            continue
        required = mark(
            value,
            OURS + "segment-topology-required",
            "kai.scheduler/segment-topology-required-placement",
            "kueue.x-k8s.io/podset-slice-required-topology",
        )
        preferred = annotation(value, "kai.scheduler/segment-topology-preferred-placement")
        topology = mark(value, TOPOLOGY, "kai.scheduler/topology")
        if required or preferred:
            return size, Closeness(topology=topology, required=required, preferred=preferred)
    return 0, None
