"""What differs between kinds when they are written: what starts at zero, what a write may touch, what counts.

The rules of k8s.io/kubernetes/pkg/registry/*/strategy.go as data: which kinds have a status of their own, which count
generations, which names change under ``spec`` without counting.
"""

from __future__ import annotations

from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.normal import fill
from quartermaster.local.apiserver.schemas import Type

_COUNTS = frozenset(
    (
        "pods",
        "replicationcontrollers",
        "deployments.apps",
        "replicasets.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "jobs.batch",
        "cronjobs.batch",
        "ingresses.networking.k8s.io",
        "podtemplates",
        "ingressclasses.networking.k8s.io",
        "networkpolicies.networking.k8s.io",
        "poddisruptionbudgets.policy",
        "priorityclasses.scheduling.k8s.io",
        "endpointslices.discovery.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceslices.resource.k8s.io",
        "podgroups.scheduling.k8s.io",
        "workloads.scheduling.k8s.io",
    )
)
"""Tables whose objects have metadata.generation; custom resources all have."""

_KEEPS_STATUS = frozenset(("nodes", "apiservices.apiregistration.k8s.io"))
"""Created with the status they come with."""

_COUNTED_METADATA = {"deployments.apps": "annotations", "endpointslices.discovery.k8s.io": "labels"}
"""Metadata whose change counts too."""

_METADATA_APART = frozenset(
    (
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "resourceclaims.resource.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "apiservices.apiregistration.k8s.io",
    )
)
"""Tables whose metadata does not change with the status; that of custom resources does not either."""

_KEPT_METADATA = {"pods": ("ownerReferences",), "deployments.apps": ("labels",)}
"""What does not, in the other tables."""

_TEMPLATES = "deprecated.daemonset.template.generation"
_SPECLESS = frozenset(("endpointslices.discovery.k8s.io", "priorityclasses.scheduling.k8s.io"))


def counts_generation(kind: Kind) -> bool:
    """Whether it has a generation."""
    return kind.custom is not None or kind.table in _COUNTS


def own_status(kind: Kind) -> bool:
    """Whether status is written only through its subresource."""
    return "status" in kind.subresources


def prepare_create(kind: Kind, value: Json, type_: Type) -> None:
    """Before an object is first stored."""
    metadata = value["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(name, None)
    if counts_generation(kind):
        metadata["generation"] = 1
    if own_status(kind) and kind.table not in _KEEPS_STATUS:
        value.pop("status", None)
        if kind.custom is None:
            value["status"] = {}
            fill(value["status"], type_.fields["status"].type)


def prepare_update(kind: Kind, value: Json, old: Json, *, subresource: str) -> None:
    """Before an object is stored again: restore what this path may not change, and count."""
    metadata, known = value.setdefault("metadata", {}), old["metadata"]
    _keep(metadata, known, "creationTimestamp", "generation", "selfLink")
    metadata.setdefault("uid", known["uid"])
    if "deletionTimestamp" in known:
        _keep(metadata, known, "deletionTimestamp")
    if "deletionGracePeriodSeconds" in known:
        metadata.setdefault("deletionGracePeriodSeconds", known["deletionGracePeriodSeconds"])
    if subresource == "status":
        status = value.get("status")
        for name in [name for name in value if name not in ("metadata", "status", "kind", "apiVersion")]:
            del value[name]
        for name, item in old.items():
            if name not in ("metadata", "status"):
                value[name] = item
        if status is not None:
            value["status"] = status
        # Most built-in kinds let metadata change with the status.
        if kind.custom is not None or kind.table in _METADATA_APART:
            kept = metadata.get("managedFields")
            value["metadata"] = metadata = dict(known)
            if kept is not None:
                metadata["managedFields"] = kept
        _keep(metadata, known, *_KEPT_METADATA.get(kind.table, ()))
        if kind.table == "pods":
            value.setdefault("status", {}).setdefault("qosClass", old.get("status", {}).get("qosClass", ""))
    elif own_status(kind) and kind.table != "nodes":
        if "status" in old:
            value["status"] = old["status"]
        else:
            value.pop("status", None)
    elif kind.table == "nodes":
        value["status"] = old.get("status", {})
    if kind.table == "namespaces" and subresource == "":
        value["spec"] = old.get("spec", {})
    if counts_generation(kind) and subresource != "status" and differs(kind, value, old):
        metadata["generation"] = known.get("generation", 0) + 1
    if kind.table == "daemonsets.apps" and subresource == "":
        _count_template(value, old)


def _count_template(value: Json, old: Json) -> None:
    """Sets of daemons still count the changes of their template, in an annotation."""
    was = int((old["metadata"].get("annotations") or {}).get(_TEMPLATES, "0"))
    changed = value.get("spec", {}).get("template") != old.get("spec", {}).get("template")
    annotations = value["metadata"].get("annotations") or {}
    value["metadata"]["annotations"] = annotations | {_TEMPLATES: str(was + changed)}


def _keep(value: Json, known: Json, *names: str) -> None:
    """What was there stays, and what was not does not come."""
    for name in names:
        if name in known:
            value[name] = known[name]
        else:
            value.pop(name, None)


def differs(kind: Kind, value: Json, old: Json) -> bool:
    """Whether what was asked for changed."""
    counted = _COUNTED_METADATA.get(kind.table)
    if counted and (value["metadata"].get(counted) or {}) != (old["metadata"].get(counted) or {}):
        return True
    if kind.custom is None and kind.table not in _SPECLESS and ("spec" in value or "spec" in old):
        return bool(value.get("spec") != old.get("spec"))
    ignored = ("metadata", "status") if own_status(kind) else ("metadata",)
    return {key: item for key, item in value.items() if key not in ignored} != {
        key: item for key, item in old.items() if key not in ignored
    }
