"""The status of queues, topologies and pod groups, from what was decided: what ``kubectl get`` and ``describe`` show.

A gang whose pods name no PodGroup gets one, owned by what owns its pods, so that every gang can be looked at and goes
with its owner. Reports are made at most once a second, of what changed since the last; what an object says already is
not written again. Refuses to be needed: all of it can fail, and decisions are the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter
from typing import Final

from quartermaster.api import v1alpha1
from quartermaster.api.podgroup_status import Verdicts, podgroup_status
from quartermaster.api.queue_status import queue_patches
from quartermaster.api.reading import Problem, Reason, read, written
from quartermaster.api.statuses import patch
from quartermaster.api.topology_status import topology_status
from quartermaster.cluster.state import ClusterState
from quartermaster.controllers.scheduler.grouping import Grouping, Known
from quartermaster.controllers.scheduler.metrics import Metrics
from quartermaster.controllers.scheduler.site import QUEUES, TOPOLOGIES, Site
from quartermaster.controllers.scheduler.sources import Sources
from quartermaster.controllers.scheduler.teller import PATIENCE_S, SOON_S, Teller, Word
from quartermaster.kube.api import APPLY, MERGE, Json
from quartermaster.kube.clock import Clock
from quartermaster.model.units import DEVICE, GPU
from quartermaster.scheduling.plan import Explanation, Plan
from quartermaster.scheduling.presence import Presence
from quartermaster.scheduling.rules import Rules
from quartermaster.scheduling.standing import Standing
from quartermaster.workloads.external import OWN
from quartermaster.workloads.group import Closeness, Group, Role

GROUPS: Final = (OWN, "PodGroup")
MANAGED: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "quartermaster"
QUEUES_PART: Final = 0.05
"""The part of the time that reports on queues may take: they look at everything that runs or waits."""

MOST_PARTS: Final = 64
"""Sub-groups that an object may have; more are told of as one."""


@dataclass(slots=True)
class _News:
    """What is to be reported on."""

    groups: dict[str, None] = field(default_factory=dict)
    queues: bool = True


class Reporter:
    """Makes reports when asked to. `owner` gives the object that owns a group, as far as it is known."""

    def __init__(
        self,
        sources: Sources,
        site: Site,
        grouping: Grouping,
        *,
        state: ClusterState,
        teller: Teller,
        clock: Clock,
        rules: Rules,
        metrics: Metrics,
        owner: Callable[[Known], Json | None],
    ) -> None:
        self._sources, self._site, self._grouping, self._state = sources, site, grouping, state
        self._teller, self._clock, self._rules, self._metrics, self._owner = teller, clock, rules, metrics, owner
        self._why: dict[str, Explanation] = {}
        self._nominated: dict[str, list[str]] = {}
        self._starts: dict[str, float | None] = {}
        self._stale: Mapping[str, float] = {}
        self._evicted: Mapping[str, str] = {}
        self._news = _News()
        self._queues_due = float("-inf")

    # ---- what is heard

    def decided(self, plan: Plan, groups: Iterable[str]) -> None:
        """A cycle decided on these groups."""
        new, tried = Verdicts.of(plan), list(groups)
        for name in tried:
            self._take_back(name)
        self._why.update(new.why)
        self._nominated.update(new.nominated)
        self._starts.update(new.starts)
        self._stale, self._evicted = new.stale, new.evicted
        self.touch(*tried, *new.stale)
        for pod in new.evicted:
            if (known := self._grouping.group_of(pod)) is not None:
                self.touch(known.name)

    def touch(self, *groups: str) -> None:
        """Something about these groups changed."""
        self._news.groups.update(dict.fromkeys(groups))
        self._news.queues = True

    # ---- what is said

    def report(self) -> bool:
        """Have everything written that is new; whether there is more to say once that is there."""
        news, self._news = self._news, _News(queues=False)
        presence = Presence(self._state.pods, self._state.leaving)
        verdicts = Verdicts(
            why=self._why, nominated=self._nominated, starts=self._starts, stale=self._stale, evicted=self._evicted
        )
        if not self._sources.missing(GROUPS):
            for name in news.groups:
                known = self._grouping.groups.get(name)
                if known is not None and known.group is not None and known.group.desired > 1:
                    self._report_group(known, known.group, verdicts, presence)
                elif known is None:
                    self._forget(name)
        if news.queues and self._clock() < self._queues_due:
            self._news.queues = True
        elif news.queues:
            began = perf_counter()
            self._report_queues(presence)
            self._queues_due = self._clock() + (perf_counter() - began) / QUEUES_PART
        return bool(self._news.groups) or self._news.queues

    def _forget(self, name: str) -> None:
        self._teller.forget(("group", name))
        self._teller.forget(("group status", name))
        self._take_back(name)

    def _take_back(self, name: str) -> None:
        self._why.pop(name, None)
        self._nominated.pop(name, None)
        self._starts.pop(name, None)

    def recall(self, group: Group) -> Mapping[str, int]:
        """Pods by role that a group was admitted with before this process began, if it had grown by then."""
        value = self._sources.find(GROUPS, group.namespace, object_name(group))
        return {} if value is None else (value.get("status") or {}).get("admitted") or {}

    def _report_group(self, known: Known, group: Group, verdicts: Verdicts, presence: Presence) -> None:
        name = object_name(group)
        value = self._sources.find(GROUPS, group.namespace, name)
        where = f"/apis/{v1alpha1.API_VERSION}/namespaces/{group.namespace}/podgroups/{name}"
        if value is None or value["metadata"].get("labels", {}).get(MANAGED) == MANAGER:
            spec = spec_of(group, queue=self._queue_of(known, group))
            if value is None or read(value, v1alpha1.PodGroup).spec != spec:
                body = manifest(group, name, spec, owner=self._owner(known))
                path = f"{where}?fieldManager={MANAGER}&force=true"
                self._teller.say(("group", known.name), Word("PATCH", path, body, APPLY, str(body["spec"])))
                self._news.groups[known.name] = None  # its status, once it is there
                return
        found = known.value or Problem(Reason.PODS_MISSING if known.incomplete else Reason.INVALID_SPEC, known.wrong)
        admitted = known.admitted if known.grown else None
        status = podgroup_status(
            value,
            found,
            verdicts,
            presence=presence,
            now=self._clock(),
            admitted=None if admitted is None else {role.name: role.desired for role in admitted.roles},
        )
        change = patch(value, status)
        if change is not None:
            word = Word("PATCH", f"{where}/status", change, MERGE, str(change))
            patience = PATIENCE_S if known.incomplete else SOON_S  # more pods of it are about to come
            self._teller.say(("group status", known.name), word, patience=patience, soon=True)

    def _queue_of(self, known: Known, group: Group) -> str:
        return known.value.queue if known.value is not None else group.queue or self._site.default

    def _report_queues(self, presence: Presence) -> None:
        values = {
            known.name: known.value
            for table in (self._grouping.waiting, self._grouping.running)
            for known in table.values()
            if known.value is not None
        }
        groups = list(values.values())
        standing = Standing(self._site.queues, self._state, groups=groups, presence=presence, rules=self._rules)
        self._measure(standing)
        now = self._clock()
        objects = list(self._sources.objects(QUEUES).values())
        self._say_all("queues", queue_patches(objects, self._site.found, standing, groups=groups, now=now))
        topologies = list(self._sources.objects(TOPOLOGIES).values())
        labels = [node.labels for node in self._state.nodes if node is not None]
        known = self._site.found_topologies
        changes = (
            (value["metadata"]["name"], patch(value, topology_status(value, known, labels=labels, now=now)))
            for value in topologies
        )
        self._say_all("topologies", ((name, change) for name, change in changes if change is not None))

    def _measure(self, standing: Standing) -> None:
        """Queues that are gone are gone here too."""
        gauge, groups = self._metrics.queue, self._metrics.queue_groups
        gauge.clear()
        groups.clear()
        tables = {"waiting": self._grouping.waiting, "running": self._grouping.running}
        counts = {
            state: Counter(known.value.queue for known in table.values() if known.value is not None)
            for state, table in tables.items()
        }
        for queue in self._site.queues:
            gauge.labels(queue.name, "allocated").set(standing.quota.used(queue.name).get(GPU, 0) / DEVICE)
            gauge.labels(queue.name, "deserved").set(queue.quota(GPU).deserved)
            gauge.labels(queue.name, "limit").set(queue.quota(GPU).limit)
            if GPU in standing.resources:
                gauge.labels(queue.name, "fair-share").set(standing.shares[queue.name][GPU].share / DEVICE)
                gauge.labels(queue.name, "requested").set(standing.requested[queue.name][GPU] / DEVICE)
            if self._site.queues.is_leaf(queue.name):
                for state, count in counts.items():
                    groups.labels(queue.name, state).set(count[queue.name])

    def _say_all(self, plural: str, patches: Iterable[tuple[str, Json]]) -> None:
        for name, change in patches:
            path = f"/apis/{v1alpha1.API_VERSION}/{plural}/{name}/status"
            self._teller.say((plural, name), Word("PATCH", path, change, MERGE, str(change)))


# ---- the objects of gangs that have none


def object_name(group: Group) -> str:
    """The PodGroup that a group is told of in: the one that its pods name, else the one that is made for it."""
    return group.name if group.joined is not None and group.kind == "PodGroup" else name_for(group)


def name_for(group: Group) -> str:
    """The name of the PodGroup of a gang that is read from its owner: kind, name, and what tells it from its like."""
    plain = re.sub(r"[^a-z0-9.-]+", "-", f"{group.kind}-{group.name}".lower()).strip("-.")
    digest = blake2b(group.key.encode(), digest_size=4).hexdigest()
    return f"{plain[:240]}-{digest}"


def spec_of(group: Group, *, queue: str) -> v1alpha1.PodGroupSpec:
    """What the PodGroup of a gang says."""
    parts: list[v1alpha1.SubGroup] = []
    if len(group.roles) > 1 or any(role.parts for role in group.roles):
        _list(group.roles, "", parts)
    if len(parts) > MOST_PARTS or group.pooled or group.open:
        parts = []
    return v1alpha1.PodGroupSpec(
        queue=queue,
        min=None if parts else max(1, group.min),
        sub_groups=parts,
        topology=_topology(group.topology),
        priority_class_name=group.priority_class,
        preemptible=group.preemptible,
    )


def manifest(group: Group, name: str, spec: v1alpha1.PodGroupSpec, *, owner: Json | None) -> Json:
    """The PodGroup of a gang, for server-side apply."""
    metadata: Json = {"name": name, "namespace": group.namespace, "labels": {MANAGED: MANAGER}}
    if owner is not None:
        known = {key: owner["metadata"][key] for key in ("name", "uid")}
        metadata["ownerReferences"] = [{"apiVersion": owner["apiVersion"], "kind": owner["kind"], **known}]
    return {
        "apiVersion": v1alpha1.API_VERSION,
        "kind": "PodGroup",
        "metadata": metadata,
        "spec": written(spec),
    }


def _list(roles: Iterable[Role], parent: str, found: list[v1alpha1.SubGroup]) -> None:
    for role in roles:
        own = re.sub(r"[^a-z0-9-]+", "-", f"{parent}-{role.name}".lower()).strip("-")[:63].rstrip("-")
        least = role.min_parts if role.parts else role.min
        found.append(v1alpha1.SubGroup(name=own, parent=parent, min=least, topology=_topology(role.topology)))
        _list(role.parts, own, found)


def _topology(near: Closeness | None) -> v1alpha1.TopologyConstraint | None:
    if near is None or not near.topology:
        return None
    return v1alpha1.TopologyConstraint(topology=near.topology, required=near.required, preferred=near.preferred)
