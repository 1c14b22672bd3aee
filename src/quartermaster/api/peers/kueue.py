"""Kueue: ClusterQueue, LocalQueue, Cohort, ResourceFlavor, Topology and WorkloadPriorityClass (kueue.x-k8s.io).

A cohort is a queue above its cluster queues. Quotas of flavors are added up, and kept apart where a flavor is a GPU
model. A LocalQueue becomes a queue below its cluster queue, of the same name where it can be, so that labels stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Final

from quartermaster.api.peers.carrying import (
    Carried,
    Carrying,
    Json,
    amount,
    each,
    of_kinds,
    ours,
    quantity,
    spec_of,
    title,
)
from quartermaster.api.podgroups import NON_PREEMPTIBLE_FROM
from quartermaster.api.reading import many

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
    """What becomes of Kueue's objects."""
    kinds = of_kinds(objects, GROUP)
    found = Carrying()
    flavors = kinds.pop("ResourceFlavor", [])
    tree = _Queues(kinds.pop("ClusterQueue", []), kinds.pop("Cohort", []), dict(each(flavors, _model, found)), found)
    found.carried += tree.carried()
    found.carried += tree.locals(kinds.pop("LocalQueue", []), found)
    found.carried += each(kinds.pop("Topology", []), _topology, found)
    found.carried += each(kinds.pop("WorkloadPriorityClass", []), _priority, found)
    for lost in each(flavors, _flavor, found):
        found.lost += lost
    for kind, values in kinds.items():
        found.lost += [(title(value), _OF_ITSELF.get(kind, "has no counterpart here")) for value in values]
    return found


def local_queues(objects: Iterable[Json]) -> dict[tuple[str, str], str]:
    """The queue here that a workload means by naming a LocalQueue, by namespace and name of the LocalQueue.

    It has the LocalQueue's own name if that means the same ClusterQueue in all namespaces, so that labels say it by
    themselves. Else it is ``NAME.CLUSTERQUEUE``. A ClusterQueue whose only LocalQueues have its name is meant directly.
    """
    means = _targets(objects)
    of_name: dict[str, set[str]] = {}
    of_target: dict[str, set[str]] = {}
    for (_, name), target in means.items():
        of_name.setdefault(name, set()).add(target)
        of_target.setdefault(target, set()).add(name)
    found = {}
    for (namespace, name), target in means.items():
        alone = of_name[name] == {target} and name not in of_target
        direct = of_target[target] == {target}
        found[namespace, name] = target if direct else name if alone else f"{name}.{target}"
    return found


def _targets(objects: Iterable[Json]) -> dict[tuple[str, str], str]:
    """The ClusterQueue of every LocalQueue that names one."""
    found = {}
    for value in of_kinds(objects, GROUP).get("LocalQueue", []):
        spec = value.get("spec")
        target = spec.get("clusterQueue") if isinstance(spec, dict) else None
        if isinstance(target, str) and target:
            found[_key(value)] = target
    return found


def _key(value: Json) -> tuple[str, str]:
    return value["metadata"].get("namespace", ""), value["metadata"]["name"]


def _model(value: Json) -> tuple[str, str]:
    return value["metadata"]["name"], str((spec_of(value).get("nodeLabels") or {}).get(_PRODUCT, ""))


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
    weight: float = 1
    sums: dict[str, _Sum] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


class _Queues:
    """Cohorts and cluster queues as one tree."""

    def __init__(
        self, cluster_queues: list[Json], cohorts: list[Json], models: Mapping[str, str], found: Carrying
    ) -> None:
        self._models = models
        self._taken = {value["metadata"]["name"] for value in cluster_queues}
        self._inner = dict(each(cohorts, self._named, found))
        self._leaves = dict(each(cluster_queues, self._named, found))
        for own in (*self._leaves.values(), *list(self._inner.values())):
            if own.parent and own.parent not in self._inner:
                self._inner[own.parent] = _Own(None, "")

    def _cohort(self, name: str) -> str:
        """What a cohort's queue is called: cluster queues keep their names."""
        return f"{name}-cohort" if name in self._taken else name

    def _named(self, value: Json) -> tuple[str, _Own]:
        """One cohort or cluster queue, in the words of either version."""
        spec = spec_of(value)
        words = ("cohortName", "cohort") if value["kind"] == "ClusterQueue" else ("parentName", "parent")
        own = _Own(value, str(spec.get(words[0]) or spec.get(words[1]) or ""), weight=_weight(value))
        unknown: dict[str, None] = {}
        for group in spec.get("resourceGroups") or ():
            for flavor in group.get("flavors") or ():
                for resource in flavor.get("resources") or ():
                    self._add(own, flavor["name"], resource, unknown)
        if unknown:
            own.lost.append(f"{many(list(unknown))}: has no quota here")
        own.lost += _lost(spec)
        return value["metadata"]["name"], own

    def _add(self, own: _Own, flavor: str, resource: Json, unknown: dict[str, None]) -> None:
        assert own.value is not None
        name = resource["name"]
        if name not in _RESOURCES:
            unknown[name] = None
            return
        where = f"spec.resourceGroups.{flavor}.{name}"
        nominal = amount(resource.get("nominalQuota", 0), field=f"{where}.nominalQuota")
        limit = resource.get("borrowingLimit")
        borrowed = None if limit is None else amount(limit, field=f"{where}.borrowingLimit")
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
        quotas = {resource: _quota(*pair, own.weight, memory=resource == "memory") for resource, pair in sums.items()}
        models = {key.partition("/")[2]: quota for key, quota in quotas.items() if "/" in key}
        plain = {key: quota for key, quota in quotas.items() if "/" not in key}
        parent = self._cohort(own.parent) if own.parent else None
        return ours("Queue", name, {"parent": parent, **plain, "gpuModels": models})

    def locals(self, values: list[Json], found: Carrying) -> Iterator[Carried]:
        """A queue for all LocalQueues that mean the same."""
        leaves, targets = local_queues(values), _targets(values)
        of_leaf: dict[str, list[Json]] = {}
        for value in values:
            target = targets.get(_key(value), "")
            if target not in self._leaves:
                found.lost.append((title(value), f"there is no ClusterQueue '{target}' that can be read"))
            elif leaves[_key(value)] != target:
                of_leaf.setdefault(leaves[_key(value)], []).append(value)
        for leaf, some in of_leaf.items():
            if leaf in map(self._cohort, self._inner):
                found.lost += [(title(value), f"a cohort is called '{leaf}': rename it") for value in some]
            else:
                yield from each(
                    [some[0]], partial(self._local, leaf=leaf, target=targets[_key(some[0])], some=some), found
                )

    def _local(self, first: Json, *, leaf: str, target: str, some: list[Json]) -> Carried:
        name = first["metadata"]["name"]
        weight = _weight(first)
        spec: Json = {resource: {"deserved": "unlimited", "weight": weight} for resource in ("gpu", "cpu", "memory")}
        models = [key.partition("/")[2] for key in self._leaves[target].sums if "/" in key]
        spec["gpuModels"] = {model: {"deserved": "unlimited", "weight": weight} for model in models}
        made = Carried(manifest=ours("Queue", leaf, {"parent": target, **spec}), source=many(list(map(title, some))))
        made.why.append(f"its bounds are those of {target} above it")
        if leaf == name:
            made.why.append(f"the label {GROUP}/queue-name: {name} stays as it is")
        else:
            made.lost.append(
                f"the label {GROUP}/queue-name: {name} means other queues in other namespaces: "
                f"it is read as {leaf} while the LocalQueue is there; then workloads have to say {leaf}"
            )
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


def _weight(value: Json) -> float:
    sharing = spec_of(value).get("fairSharing") or {}
    found = amount(sharing.get("weight", 1), field="spec.fairSharing.weight")
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


def _flavor(value: Json) -> list[tuple[str, str]]:
    spec = spec_of(value)
    lost = []
    labels = dict(spec.get("nodeLabels") or {})
    if labels.pop(_PRODUCT, None):
        labels.pop("nvidia.com/gpu.memory", None)
    if labels:
        said = ", ".join(f"{name}={label}" for name, label in labels.items())
        lost.append((title(value), f"selects nodes by {said}: its quota is added up; give pods a node selector"))
    if spec.get("nodeTaints") or spec.get("tolerations"):
        lost.append((title(value), "gives pods tolerations: pods need them themselves"))
    return lost


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
