"""Custom resources: a definition makes kinds.

A definition is checked, established at once, and served from then on; when it goes its objects go with it
(garbage.py). Versions convert by strategy None. What an object of it may hold is structural.py's.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.deleting import CRDS
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Column, Kind, Subresource
from quartermaster.local.apiserver.store import Change
from quartermaster.local.apiserver.structural import Custom

if TYPE_CHECKING:
    from quartermaster.local.apiserver.server import ApiServer
    from quartermaster.local.apiserver.writing import Written

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_STATUS_VERBS = ("get", "patch", "update")


def install(server: ApiServer) -> None:
    """Serve the definitions that come, change and go."""
    definitions = _Definitions(server.cluster)
    server.cluster.store.listeners.append(definitions.changed)
    server.admission.mutating.append(definitions.admit)
    server.objects.created.append(definitions.established)


class _Definitions:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._served: dict[str, list[tuple[str, str, str]]] = {}

    def admit(self, operation: Operation) -> None:
        """Establish a definition as it is written."""
        if operation.kind.table != CRDS or operation.verb == "DELETE":
            return
        value = operation.value
        spec = value.get("spec", {})
        if operation.verb == "CREATE":
            storage = [item.get("name") for item in spec.get("versions") or () if item.get("storage")]
            value["status"] = {
                "conditions": None,
                "acceptedNames": {"plural": "", "kind": ""},
                "storedVersions": storage[:1],
            }
            return
        if not (value.get("status", {}).get("conditions")):
            return
        self._accept(value)

    def established(self, kind: Kind, written: Written) -> None:
        """What the real server's own controllers do at once: accept the names of a new definition."""
        if kind.table != CRDS or written.record is None:
            return
        value, old = load(written.record.raw), load(written.record.raw)
        self._accept(value)
        type_ = self._cluster.schemas.of(kind.gvk)
        assert type_ is not None, "definitions are built in"
        managers.record_update(
            value,
            old,
            type_=type_,
            manager="kube-apiserver",
            subresource="status",
            now=self._cluster.now(),
            api_version=kind.api_version,
        )
        self._cluster.put(kind, value, written.record)

    def _accept(self, value: Json) -> None:
        spec = value.get("spec", {})
        names = spec.get("names") or {}
        known = {item.get("type"): item for item in value.get("status", {}).get("conditions") or ()}
        now = self._cluster.now()

        def condition(kind: str, reason: str, message: str) -> Json:
            made = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
            return known.get(kind, made)

        conditions = [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
        conditions += [item for kind, item in known.items() if kind not in ("NamesAccepted", "Established")]
        stored = list(value.get("status", {}).get("storedVersions") or ())
        storage = next((item.get("name") for item in spec.get("versions") or () if item.get("storage")), None)
        if storage and storage not in stored:
            stored.append(storage)
        value["status"] = {"conditions": conditions, "acceptedNames": dict(names), "storedVersions": stored}

    def changed(self, table: str, change: Change) -> None:
        """Serve what a definition says now."""
        if table != CRDS:
            return
        for served in self._served.pop(change.record.key[1], ()):
            self._cluster.registry.remove(*served)
        if change.deleted:
            return
        if change.previous is None:
            # A watch from before the definition is one from too long ago; a list just shows nothing.
            self._cluster.store.table(change.record.key[1]).opened = change.revision
        for kind in kinds_of(load(change.record.raw), self._cluster):
            self._cluster.registry.add(kind)
            self._served.setdefault(change.record.key[1], []).append((kind.group, kind.version, kind.plural))


def kinds_of(definition: Json, cluster: Cluster) -> list[Kind]:
    """The kinds that a definition serves, one per version."""
    spec = definition["spec"]
    names = spec["names"]
    stored = next((version["name"] for version in spec["versions"] if version.get("storage")), "")
    found = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = {}
        declared = version.get("subresources") or {}
        if "status" in declared:
            subresources["status"] = Subresource("status", names["kind"], spec["group"], version["name"], _STATUS_VERBS)
        if "scale" in declared:
            subresources["scale"] = Subresource("scale", "Scale", "autoscaling", "v1", _STATUS_VERBS)
        custom = Custom(
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            schemas=cluster.schemas,
            storage=bool(version.get("storage")),
            selectable=tuple(item["jsonPath"].lstrip(".") for item in version.get("selectableFields") or ()),
            scale=declared.get("scale"),
            has_status="status" in declared,
            deprecation=_deprecation(spec, version),
            preserve_unknown=bool(spec.get("preserveUnknownFields")),
            by_webhook=(spec.get("conversion") or {}).get("strategy") == "Webhook",
        )
        found.append(
            Kind(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                singular=names.get("singular") or names["kind"].lower(),
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                verbs=_VERBS,
                storage_hash=_hash(spec["group"], stored, names["kind"]),
                subresources=subresources,
                columns=tuple(_column(item) for item in version.get("additionalPrinterColumns") or ()),
                custom=custom,
                list_kind=names.get("listKind") or names["kind"] + "List",
            )
        )
    return found


def _hash(group: str, version: str, kind: str) -> str:
    """StorageVersionHash as the real server makes it."""
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()


def _deprecation(spec: Json, version: Json) -> str:
    if not version.get("deprecated"):
        return ""
    usual = f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    return version.get("deprecationWarning") or usual


def _column(item: Json) -> Column:
    return Column(
        name=item.get("name", ""),
        type=item.get("type", "string"),
        format=item.get("format", ""),
        description=item.get("description", "")
        or f"Custom resource definition column (in JSONPath format): {item.get('jsonPath', '')}",
        priority=item.get("priority", 0),
        path=item.get("jsonPath", ""),
    )
