"""Claims, volumes and storage classes as scheduling reads them: what matches what, and which nodes that leaves.

The rules are kube-scheduler's (https://kubernetes.io/docs/concepts/storage/persistent-volumes/, component-helpers
`storage/volume`): a claim is bound when its binder says that it has finished; a volume fits a claim by class, mode,
access modes, labels and size, and the smallest is taken. Nodes are given as *terms*, a disjunction of selectors:
none is nowhere, and the empty selector is everywhere. Refuses to know what is where at the moment.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import msgspec

from quartermaster.api.objects import Amounts, Meta, Object, PodObject, Projection
from quartermaster.api.quantities import exact
from quartermaster.api.selecting import label_selector, node_terms
from quartermaster.model.labels import HOSTNAME, LabelSelector, Operator, Requirement

Json = dict[str, Any]
Terms = tuple[LabelSelector, ...]

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
ONE_POD: Final = "ReadWriteOncePod"
ANYWHERE: Final[Terms] = (LabelSelector(),)
ZONES: Final = frozenset(
    (
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    )
)
"""Labels by which volumes of old say where they are; several values are joined by two underscores."""

MOST_TERMS: Final = 64
MOST_STEPS: Final = 20_000
"""Of the search for nodes where several claims of a pod have a volume each; what is not found by then is left out."""


class VolumeResources(Projection):
    """``spec.resources`` of a claim."""

    requests: Amounts | None = None


class ClaimSpec(Projection):
    """``spec`` of a claim."""

    access_modes: list[str] | None = None
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str | None = None
    volume_attributes_class_name: str | None = None
    selector: Json | None = None
    resources: VolumeResources | None = None


class Phase(Projection):
    """``status`` of a claim or a volume."""

    phase: str = ""


class ClaimObject(Object):
    """A PersistentVolumeClaim."""

    spec: ClaimSpec = msgspec.field(default_factory=ClaimSpec)
    status: Phase = msgspec.field(default_factory=Phase)

    @property
    def storage_class(self) -> str:
        """The name of its class; empty for none."""
        old = self.annotations.get("volume.beta.kubernetes.io/storage-class")
        return (self.spec.storage_class_name or "") if old is None else old

    @property
    def bound(self) -> bool:
        """Whether its binder is done with it. A volume's name alone is only a wish."""
        return bool(self.spec.volume_name) and BIND_COMPLETED in self.annotations

    @property
    def size(self) -> Any:
        """What it asks for."""
        resources = self.spec.resources
        return ((resources.requests if resources else None) or {}).get("storage", 0)


class ClaimRef(Projection):
    """``spec.claimRef`` of a volume."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


class NodeAffinity(Projection):
    """``spec.nodeAffinity`` of a volume."""

    required: Json | None = None


class VolumeSpec(Projection):
    """``spec`` of a volume."""

    capacity: Amounts | None = None
    access_modes: list[str] | None = None
    claim_ref: ClaimRef | None = None
    storage_class_name: str = ""
    volume_mode: str | None = None
    volume_attributes_class_name: str | None = None
    node_affinity: NodeAffinity | None = None


class VolumeObject(Object):
    """A PersistentVolume."""

    spec: VolumeSpec = msgspec.field(default_factory=VolumeSpec)
    status: Phase = msgspec.field(default_factory=Phase)

    @property
    def name(self) -> str:
        """Volumes have no namespace."""
        return self.metadata.name

    @property
    def size(self) -> Any:
        """What it holds."""
        return (self.spec.capacity or {}).get("storage", 0)


class ClassObject(Object):
    """A StorageClass."""

    metadata: Meta
    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    allowed_topologies: list[Json] | None = None

    WAITS: ClassVar[str] = "WaitForFirstConsumer"

    @property
    def waits(self) -> bool:
        """Whether claims are bound only when a pod that uses them has a node."""
        return self.volume_binding_mode == self.WAITS


def claims_of(pod: PodObject) -> list[tuple[str, bool]]:
    """The names of the claims that a pod uses, and whether each is the pod's own: a generic ephemeral volume."""
    found = []
    for volume in pod.spec.volumes or ():
        if volume.persistent_volume_claim is not None:
            found.append((volume.persistent_volume_claim.claim_name, False))
        elif volume.ephemeral is not None:
            found.append((f"{pod.metadata.name}-{volume.name}", True))
    return found


def owned(claim: ClaimObject, pod: PodObject) -> bool:
    """Whether a claim was made for this very pod."""
    owner = claim.controller
    return owner is not None and owner.uid == pod.metadata.uid


def promised(volume: VolumeObject, claim: ClaimObject) -> bool | None:
    """Whether a volume is meant for this claim (True), for another one (False), or for nobody yet (None)."""
    ref = volume.spec.claim_ref
    if ref is None:
        return None
    named = (ref.namespace, ref.name) == claim.key
    return named and ref.uid in {"", claim.metadata.uid}


def fits(volume: VolumeObject, claim: ClaimObject) -> bool:
    """Whether a claim may have this volume, wherever it is."""
    mine = promised(volume, claim)
    if mine is False or volume.leaving or (mine is None and volume.status.phase != "Available"):
        return False
    want, have = claim.spec, volume.spec
    return (
        have.storage_class_name == claim.storage_class
        and (have.volume_mode or "Filesystem") == (want.volume_mode or "Filesystem")
        and (have.volume_attributes_class_name or "") == (want.volume_attributes_class_name or "")
        and set(want.access_modes or ()) <= set(have.access_modes or ())
        and exact(volume.size) >= exact(claim.size)
        and (mine is True or label_selector(want.selector).matches(volume.labels))
    )


def asks(claim: ClaimObject) -> Hashable:
    """All of a claim that `fits` looks at, for a volume that is nobody's."""
    spec = claim.spec
    return (
        claim.storage_class,
        claim.size,
        spec.volume_mode or "Filesystem",
        spec.volume_attributes_class_name or "",
        frozenset(spec.access_modes or ()),
        label_selector(spec.selector),
    )


# ---- where


def terms_of(volume: VolumeObject) -> Terms:
    """The nodes that reach a volume."""
    required = volume.spec.node_affinity.required if volume.spec.node_affinity else None
    terms = ANYWHERE if required is None else node_terms(required)
    zones = tuple(
        Requirement(key=key, operator=Operator.IN, values=tuple(text.split("__")))
        for key, text in sorted(volume.labels.items())
        if key in ZONES
    )
    return product(terms, (LabelSelector(requirements=zones),)) if zones else terms


def allowed(storage: ClassObject) -> Terms:
    """The nodes for which a class makes volumes."""
    terms = storage.allowed_topologies
    if not terms:
        return ANYWHERE
    return tuple(
        LabelSelector(
            requirements=tuple(
                Requirement(key=one["key"], operator=Operator.IN, values=tuple(one["values"]))
                for one in term.get("matchLabelExpressions") or ()
            )
        )
        for term in terms
    )


def on_node(name: str) -> Terms:
    """One node."""
    return (LabelSelector(requirements=(Requirement(key=HOSTNAME, operator=Operator.IN, values=(name,)),)),)


def matches(terms: Terms, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels is among them."""
    return any(term.matches(labels) for term in terms)


def product(*parts: Terms) -> Terms:
    """The nodes that are in every one of several terms."""
    found: Terms = ANYWHERE
    for part in parts:
        both = (_both(one, other) for one in found for other in part)
        found = union(one for one in both if one is not None)
    return found


def union(terms: Iterable[LabelSelector]) -> Terms:
    """Terms with nothing twice, and one where several ask for values of one label; the first `MOST_TERMS` of them.

    Fewer nodes than there are is never wrong, only unlucky; terms without end would make every decision slow.
    """
    values: dict[str, set[str]] = {}
    rest: dict[LabelSelector, None] = {}
    for term in terms:
        if not term.requirements:
            return ANYWHERE
        first = term.requirements[0]
        if len(term.requirements) == 1 and first.operator is Operator.IN:
            values.setdefault(first.key, set()).update(first.values)
        else:
            rest[term] = None
    for key in sorted(values):
        wanted = Requirement(key=key, operator=Operator.IN, values=tuple(sorted(values[key])))
        rest[LabelSelector(requirements=(wanted,))] = None
    return tuple(rest)[:MOST_TERMS]


def _both(one: LabelSelector, other: LabelSelector) -> LabelSelector | None:
    """The selector for nodes that both match; None if it is plain that there are none."""
    known = list(one.requirements)
    for asked in other.requirements:
        if asked in known:
            continue
        for index, have in enumerate(known):
            if have.key == asked.key and have.operator is asked.operator is Operator.IN:
                common = tuple(value for value in have.values if value in asked.values)
                if not common:
                    return None
                known[index] = replace(have, values=common)
                break
        else:
            known.append(asked)
    return LabelSelector(requirements=tuple(known))


# ---- several claims at once


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve a claim: a volume that there is, or, without a name, one to be made; and where that can be."""

    volume: str
    terms: Terms


def places(claims: Sequence[Sequence[Option]]) -> Terms:
    """The nodes where every one of a pod's claims can be served, each by a volume of its own."""
    bounded = [options for options in claims if not any(o.terms == ANYWHERE and not o.volume for o in options)]
    if len(bounded) <= 1:
        return (
            union(term for options in bounded for option in options for term in option.terms) if bounded else ANYWHERE
        )
    # A claim that has as many equal ways as there are claims has one left, whatever the others take.
    distinct = [list(_first_of_each(options, len(bounded))) for options in bounded]
    steps = iter(range(MOST_STEPS))
    return union(_served(distinct, LabelSelector(), frozenset(), steps))


def _first_of_each(options: Iterable[Option], count: int) -> Iterator[Option]:
    seen: dict[Terms, int] = {}
    for option in options:
        seen[option.terms] = seen.get(option.terms, 0) + 1
        if seen[option.terms] <= count:
            yield option


def _served(
    claims: Sequence[Sequence[Option]], there: LabelSelector, used: frozenset[str], steps: Iterator[int]
) -> Iterator[LabelSelector]:
    if not claims:
        yield there
        return
    for option in claims[0]:
        if option.volume in used:
            continue
        for term in option.terms:
            both = _both(there, term)
            if both is None:
                continue
            if next(steps, None) is None:
                return
            yield from _served(claims[1:], both, used | {option.volume} if option.volume else used, steps)


def seated(claims: Sequence[Sequence[Option]], labels: Mapping[str, str]) -> list[str] | None:
    """A volume for each claim on a node, in the order of preference, empty for one to be made; None if one has none."""
    ways = [[option.volume for option in options if matches(option.terms, labels)] for options in claims]
    return _seated(ways, iter(range(MOST_STEPS)))


def _seated(ways: Sequence[Sequence[str]], steps: Iterator[int]) -> list[str] | None:
    if not ways:
        return []
    for volume in ways[0]:
        if next(steps, None) is None:
            return None
        rest = [[other for other in others if not volume or other != volume] for others in ways[1:]]
        if all(rest) and (found := _seated(rest, steps)) is not None:
            return [volume, *found]
    return None


# ---- what is written


def selection(claim: ClaimObject, node: str | None) -> Json:
    """A merge patch that tells a claim's provisioner the node, or takes that back."""
    return {"metadata": {"uid": claim.metadata.uid, "annotations": {SELECTED_NODE: node}}}


def promise(volume: VolumeObject, claim: ClaimObject) -> Json:
    """A merge patch that gives a volume to a claim, if nobody changed it meanwhile."""
    metadata: Json = {"uid": volume.metadata.uid, "resourceVersion": volume.metadata.resource_version}
    if volume.spec.claim_ref is None:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
    namespace, name = claim.key
    ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name}
    return {"metadata": metadata, "spec": {"claimRef": ref | {"uid": claim.metadata.uid}}}
