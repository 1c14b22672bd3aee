"""Kueue: ClusterQueue, LocalQueue, Cohort, ResourceFlavor, Topology and WorkloadPriorityClass (kueue.x-k8s.io).

A cohort is a queue above its cluster queues. Quotas of flavors are added up, and kept apart where a flavor is a GPU
model. A LocalQueue becomes a queue of its name below its cluster queue, so that labels on workloads stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from quartermaster.api.peers.carrying import (
    Carried,
    Carrying,
    Json,
    amount,
    many,
    of_kinds,
    ours,
    quantity,
    spec_of,
    title,
)
from quartermaster.api.podgroups import NON_PREEMPTIBLE_FROM

GROUP: Final = "kueue.x-k8s.io"
_RESOURCES: Final = {"nvidia.com/gpu": "gpu", "cpu": "cpu", "memory": "memory"}
_PRODUCT: Final = "nvidia.com/gpu.product"
_OF_ITSELF: Final = {
    "Workload": "is of the moment: workloads are read from the objects that people submit",
    "AdmissionCheck": "has no counterpart here: nothing outside is asked before a group starts",
    "ProvisioningRequestConfig": "has no counterpart here",
    "MultiKueueConfig": "spans clusters: there is one here",
    "MultiKueueCluster": "spans clusters: there is one here",
}


def carry(objects: Iterable[Json]) -> Carrying:
    """What becomes of Kueue's objects; raises InvalidInput for an amount that is none."""
    kinds = of_kinds(objects, GROUP)
    models = {
        value["metadata"]["name"]: (spec_of(value).get("nodeLabels") or {}).get(_PRODUCT, "")
        for value in kinds.get("ResourceFlavor", [])
    }
    found = Carrying()
    tree = _Queues(kinds.pop("ClusterQueue", []), kinds.pop("Cohort", []), models)
    found.carried += tree.carried()
    tree.locals(kinds.pop("LocalQueue", []), found)
    found.carried += map(_topology, kinds.pop("Topology", []))
    found.carried += map(_priority, kinds.pop("WorkloadPriorityClass", []))
    for value in kinds.pop("ResourceFlavor", []):
        found.lost += _flavor(value)
    for kind, values in kinds.items():
        found.lost += [(title(value), _OF_ITSELF.get(kind, "has no counterpart here")) for value in values]
    return found


def local_queues(objects: Iterable[Json]) -> dict[tuple[str, str], str]:
    """The cluster queue behind every LocalQueue, by namespace and name."""
    return {
        (value["metadata"].get("namespace", "default"), value["metadata"]["name"]): str(
            spec_of(value).get("clusterQueue", "")
        )
        for value in of_kinds(objects, GROUP).get("LocalQueue", [])
    }


@dataclass(slots=True)
class _Sum:
    """Quota of one resource, added up: what is nominal, what may be borrowed (None: any amount)."""

    nominal: Fraction = Fraction()
    borrowed: Fraction | None = Fraction()

    def add(self, nominal: Fraction, borrowed: Fraction | None) -> None:
        self.nominal += nominal
        self.borrowed = None if borrowed is None or self.borrowed is None else self.borrowed + borrowed


@dataclass(slots=True)
class _Own:
    """What one cluster queue or cohort says of itself."""

    value: Json | None
    parent: str
    sums: dict[str, _Sum] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


class _Queues:
    """Cohorts and cluster queues as one tree."""

    def __init__(self, cluster_queues: list[Json], cohorts: list[Json], models: Mapping[str, str]) -> None:
        self._models = models
        self._taken = {value["metadata"]["name"] for value in cluster_queues}
        self._inner: dict[str, _Own] = {}
        self._leaves: dict[str, _Own] = {}
        for value in cohorts:
            parent = spec_of(value).get("parentName") or spec_of(value).get("parent") or ""
            self._inner[value["metadata"]["name"]] = self._own(value, parent)
        for value in cluster_queues:
            cohort = spec_of(value).get("cohortName") or spec_of(value).get("cohort") or ""
            self._leaves[value["metadata"]["name"]] = self._own(value, cohort)
        for own in (*self._leaves.values(), *list(self._inner.values())):
            if own.parent and own.parent not in self._inner:
                self._inner[own.parent] = _Own(None, "")

    def _cohort(self, name: str) -> str:
        """What a cohort's queue is called: cluster queues keep their names."""
        return f"{name}-cohort" if name in self._taken else name

    def _own(self, value: Json, parent: str) -> _Own:
        spec = spec_of(value)
        own = _Own(value, parent)
        unknown: dict[str, None] = {}
        for group in spec.get("resourceGroups") or ():
            for flavor in group.get("flavors") or ():
                for resource in flavor.get("resources") or ():
                    self._add(own, flavor["name"], resource, unknown)
        if unknown:
            own.lost.append(f"{many(list(unknown))}: has no quota here")
        own.lost += _lost(spec)
        return own

    def _add(self, own: _Own, flavor: str, resource: Json, unknown: dict[str, None]) -> None:
        assert own.value is not None
        name = resource["name"]
        if name not in _RESOURCES:
            unknown[name] = None
            return
        where = f"spec.resourceGroups.{flavor}.{name}"
        nominal = amount(own.value, resource.get("nominalQuota", 0), field=f"{where}.nominalQuota")
        limit = resource.get("borrowingLimit")
        borrowed = None if limit is None else amount(own.value, limit, field=f"{where}.borrowingLimit")
        if resource.get("lendingLimit") is not None:
            own.lost.append(f"{name} of {flavor}: lendingLimit: what is deserved and not used is lent, all of it")
        targets = [_RESOURCES[name]]
        model = self._models.get(flavor, "")
        if model and targets == ["gpu"]:
            targets.append(f"gpu/{model}")
        for target in targets:
            own.sums.setdefault(target, _Sum()).add(nominal, borrowed)

    def carried(self) -> Iterator[Carried]:
        """All queues, parents first."""
        for name in self._parents_first():
            yield self._cohort_queue(name)
        for name, own in self._leaves.items():
            assert own.value is not None
            made = Carried(manifest={}, source=title(own.value), lost=own.lost)
            made.why.append("deserves its nominal quota" + self._may_borrow(own))
            sums = {
                resource: (sum_.nominal, self._limit(own, sum_.nominal, sum_.borrowed))
                for resource, sum_ in own.sums.items()
            }
            made.manifest = self._queue(name, own, sums)
            yield made

    def _parents_first(self) -> list[str]:
        order: list[str] = []
        left = dict(self._inner)
        while left:
            ready = [name for name, own in left.items() if own.parent not in left]
            for name in ready or list(left):  # of a circle, all: what is wrong with it is said where it is used
                order.append(name)
                del left[name]
        return order

    def _may_borrow(self, own: _Own) -> str:
        if not own.parent:
            return "; it is in no cohort, so that is its limit too"
        return "; it borrows what its cohort has left, up to its borrowing limit"

    @staticmethod
    def _limit(own: _Own, nominal: Fraction, borrowed: Fraction | None) -> Fraction | None:
        if not own.parent:
            return nominal
        return None if borrowed is None else nominal + borrowed

    def _cohort_queue(self, name: str) -> Carried:
        own = self._inner[name]
        sums: dict[str, tuple[Fraction, Fraction | None]] = {}
        for resource, total in self._total(name, frozenset()).items():
            mine = own.sums.get(resource)
            sums[resource] = (total, self._limit(own, total, mine.borrowed if mine else None))
        source = title(own.value) if own.value else f"cohort '{name}', which cluster queues name"
        made = Carried(manifest=self._queue(self._cohort(name), own, sums), source=source, lost=own.lost)
        made.why.append("deserves what its cluster queues deserve together, and its own quota")
        if self._cohort(name) != name:
            made.why.append(f"is called {self._cohort(name)}, because a cluster queue is called {name}")
        return made

    def _total(self, name: str, above: frozenset[str]) -> dict[str, Fraction]:
        """What is nominal in a cohort and all below it."""
        own = self._inner[name]
        total = {resource: sum_.nominal for resource, sum_ in own.sums.items()}
        if name in above:
            return total
        below = [self._total(child, above | {name}) for child, one in self._inner.items() if one.parent == name]
        below += [
            {resource: sum_.nominal for resource, sum_ in one.sums.items()}
            for one in self._leaves.values()
            if one.parent == name
        ]
        for part in below:
            for resource, nominal in part.items():
                total[resource] = total.get(resource, Fraction()) + nominal
        return total

    def _queue(self, name: str, own: _Own, sums: Mapping[str, tuple[Fraction, Fraction | None]]) -> Json:
        weight = _weight(own.value)
        quotas = {resource: _quota(*pair, weight, memory=resource == "memory") for resource, pair in sums.items()}
        models = {key.partition("/")[2]: quota for key, quota in quotas.items() if "/" in key}
        plain = {key: quota for key, quota in quotas.items() if "/" not in key}
        parent = self._cohort(own.parent) if own.parent else None
        return ours("Queue", name, {"parent": parent, **plain, "gpuModels": models})

    def locals(self, values: list[Json], found: Carrying) -> None:
        """A queue for each name of a LocalQueue that means one cluster queue only."""
        meant: dict[str, dict[str, list[Json]]] = {}
        for value in values:
            target = str(spec_of(value).get("clusterQueue", ""))
            meant.setdefault(value["metadata"]["name"], {}).setdefault(target, []).append(value)
        for name, targets in meant.items():
            if len(targets) > 1:
                said = (
                    f"means {many(sorted(targets))} in different namespaces: give its workloads the label of one queue"
                )
                found.lost += [(title(value), said) for some in targets.values() for value in some]
                continue
            ((target, some),) = targets.items()
            if target not in self._leaves:
                found.lost += [(title(value), f"there is no ClusterQueue '{target}'") for value in some]
            elif name == target:
                continue
            elif name in self._leaves or name in map(self._cohort, self._inner):
                found.lost += [(title(value), f"a queue '{name}' is there already: rename it") for value in some]
            else:
                found.carried.append(self._local(name, target, some))

    def _local(self, name: str, target: str, some: list[Json]) -> Carried:
        weight = _weight(some[0])
        spec: Json = {resource: {"deserved": "unlimited", "weight": weight} for resource in ("gpu", "cpu", "memory")}
        models = [key.partition("/")[2] for key in self._leaves[target].sums if "/" in key]
        spec["gpuModels"] = {model: {"deserved": "unlimited", "weight": weight} for model in models}
        made = Carried(manifest=ours("Queue", name, {"parent": target, **spec}), source=many(list(map(title, some))))
        made.why.append(f"the label {GROUP}/queue-name: {name} stays as it is; bounds are those of {target} above it")
        for value in some:
            if spec_of(value).get("stopPolicy", "None") != "None":
                made.lost.append(f"stopPolicy {spec_of(value)['stopPolicy']}: queues are open here")
        made.lost.append("any namespace may name it; in Kueue those of its LocalQueues may")
        return made


def _quota(deserved: Fraction, limit: Fraction | None, weight: float, *, memory: bool) -> Json:
    quota: Json = {"deserved": quantity(deserved, memory=memory)}
    if limit is not None:
        quota["limit"] = quantity(limit, memory=memory)
    return quota | {"weight": weight}


def _weight(value: Json | None) -> float:
    sharing = (spec_of(value).get("fairSharing") or {}) if value else {}
    found = amount(value, sharing.get("weight", 1), field="spec.fairSharing.weight") if value else Fraction(1)
    return int(found) if found.denominator == 1 else float(found)


def _lost(spec: Json) -> Iterator[str]:
    if spec.get("stopPolicy", "None") != "None":
        yield f"stopPolicy {spec['stopPolicy']}: it would be open here"
    if spec.get("queueingStrategy") == "StrictFIFO":
        yield "queueingStrategy StrictFIFO: those behind the first may pass if they do not delay it"
    if spec.get("namespaceSelector"):
        yield "namespaceSelector: which namespaces may use a queue is for admission policies to say"
    if spec.get("admissionChecks") or spec.get("admissionChecksStrategy"):
        yield "admission checks: nothing outside is asked before a group starts"
    preemption = spec.get("preemption") or {}
    for what, usual in (("reclaimWithinCohort", "Any"), ("withinClusterQueue", "LowerPriority")):
        said = preemption.get(what, "Never")
        if said != usual:
            yield f"preemption.{what} {said}: here it is as with {usual}"
    if (preemption.get("borrowWithinCohort") or {}).get("policy", "Never") != "Never":
        yield "preemption.borrowWithinCohort: who borrows evicts nobody in other queues"


def _flavor(value: Json) -> Iterator[tuple[str, str]]:
    spec = spec_of(value)
    labels = dict(spec.get("nodeLabels") or {})
    if labels.pop(_PRODUCT, None):
        labels.pop("nvidia.com/gpu.memory", None)
    if labels:
        said = ", ".join(f"{name}={label}" for name, label in labels.items())
        yield title(value), f"selects nodes by {said}: its quota is added to the others; give pods a node selector"
    if spec.get("nodeTaints") or spec.get("tolerations"):
        yield title(value), "gives pods tolerations: pods need them themselves"


def _topology(value: Json) -> Carried:
    levels = [{"label": level["nodeLabel"]} for level in spec_of(value).get("levels") or ()]
    made = Carried(manifest=ours("Topology", value["metadata"]["name"], {"levels": levels}), source=title(value))
    made.why.append("the levels are the same, coarse to fine; say `hard: true` for an NVLink level")
    return made


def _priority(value: Json) -> Carried:
    body = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": value["metadata"]["name"]},
        "value": value.get("value", 0),
        "description": value.get("description", ""),
    }
    made = Carried(manifest=body, source=title(value))
    made.why.append("priorities are Kubernetes' own here")
    if body["value"] >= NON_PREEMPTIBLE_FROM:
        made.lost.append(
            "its work can be preempted in Kueue: here, from 100 on, only if its group says so (preemptible)"
        )
    return made
