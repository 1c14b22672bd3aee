"""Fields that can be selected: kept beside the object as text, so that selecting decodes nothing.

Which paths a resource offers is the real server's list; ``metadata.name`` and ``metadata.namespace`` work everywhere.
"""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import Json, bad_request
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.selectors import FieldClause
from quartermaster.local.apiserver.store import Record

SELECTABLE: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "replicationcontrollers": ("status.replicas",),
    "replicasets.apps": ("status.replicas",),
    "jobs.batch": ("status.successful",),
    "services": ("spec.clusterIP", "spec.type"),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
    "resourceslices.resource.k8s.io": ("spec.nodeName", "spec.driver"),
    "clustertrustbundles.certificates.k8s.io": ("spec.signerName",),
}

_PATHS = {
    ("events", "source"): "source.component",
    ("jobs.batch", "status.successful"): "status.succeeded",
}

_EVENTS_V1 = {
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
}
"""What events.k8s.io/v1 calls the fields of a core event."""

_ZERO = {"status.replicas": "0", "status.successful": "0", "spec.unschedulable": "false", "spec.hostNetwork": "false"}


def selectable(kind: Kind) -> tuple[str, ...]:
    """Paths that a kind offers."""
    if kind.custom is not None:
        paths: tuple[str, ...] = kind.custom.selectable
        return paths
    return SELECTABLE.get(kind.table, ())


def extract(kind: Kind, value: Json) -> tuple[str, ...]:
    """The values of the selectable paths."""
    paths = selectable(kind)
    return tuple([_text(value, _PATHS.get((kind.table, path), path), path) for path in paths]) if paths else ()


def _text(value: Any, path: str, name: str) -> str:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return _ZERO.get(name, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


class FieldMatch:
    """A field selector, resolved for one kind. Raises ApiError 400 for a field that it does not offer."""

    def __init__(self, kind: Kind, clauses: tuple[FieldClause, ...]) -> None:
        self.names: list[FieldClause] = []
        self.clauses: list[tuple[int, str, bool]] = []
        paths = selectable(kind)
        for clause in clauses:
            path = clause.path
            if kind.group == "events.k8s.io":
                head, dot, rest = path.partition(".")
                path = _EVENTS_V1.get(head, head) + dot + rest
            elif kind.table == "pods" and path == "spec.host":
                path = "spec.nodeName"  # what clients of the first years call it
            if path in ("metadata.name", "metadata.namespace"):
                self.names.append(FieldClause(path, clause.value, clause.equal))
            elif path in paths:
                self.clauses.append((paths.index(path), clause.value, clause.equal))
            else:
                raise bad_request(_unsupported(kind, clause))

    @property
    def name(self) -> str | None:
        """The one name it can match, if it says so."""
        for clause in self.names:
            if clause.path == "metadata.name" and clause.equal:
                return clause.value
        return None

    def matches(self, record: Record) -> bool:
        """Whether an object satisfies all clauses."""
        for clause in self.names:
            value = record.key[1] if clause.path == "metadata.name" else record.key[0]
            if (value == clause.value) is not clause.equal:
                return False
        fields = record.fields
        return all((fields[index] == value) is equal for index, value, equal in self.clauses)


_SAID_OTHERWISE = {
    "jobs.batch": 'field label "{}" not supported for Job',
    "resourceslices.resource.k8s.io": "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {}",
}


def _unsupported(kind: Kind, wrong: FieldClause) -> str:
    if kind.custom is None and kind.table not in SELECTABLE:
        return f'"{wrong.path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    return _SAID_OTHERWISE.get(kind.table, "field label not supported: {}").format(wrong.path)
