"""The scale subresource: replicas of any kind as an autoscaling/v1 Scale.

A Scale is written like any object, and its owners are those of the replicas in the object behind it: they are shown in
the Scale's own terms while it is written, and taken back after.
"""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import ApiError, Json, invalid, invalid_value
from quartermaster.local.apiserver.fieldsets import Trie, difference
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.selectors import from_object, to_text

SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale", namespaced=True)
_REPLICAS: Trie = {"f:spec": {"f:replicas": {}}}


def _walk(value: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _paths(kind: Kind) -> tuple[str, str, str]:
    if kind.custom is not None:
        scale = kind.custom.scale
        return scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")
    return ".spec.replicas", ".status.replicas", ""


def checked_scale_of(kind: Kind, value: Json) -> Json:
    """The Scale of an object that is asked for; raises ApiError 500 for a custom resource that says no replicas."""
    path = _paths(kind)[0]
    if kind.custom is not None and _walk(value, path) is None:
        why = f'the spec replicas field "{path}" does not exist'
        details = {"causes": [{"message": why}]}
        raise ApiError(500, "InternalError", f"Internal error occurred: {why}", details=details)
    return scale_of(kind, value)


def scale_of(kind: Kind, value: Json) -> Json:
    """The Scale of an object."""
    spec_path, status_path, selector_path = _paths(kind)
    metadata = value["metadata"]
    status: Json = {"replicas": _walk(value, status_path) or 0}
    if kind.custom is None:
        selector = value.get("spec", {}).get("selector")
        if kind.plural == "replicationcontrollers":
            selector = {"matchLabels": selector or {}}
        text = to_text(from_object(selector) or ())
    else:
        text = _walk(value, selector_path) or "" if selector_path else ""
    if text:
        status["selector"] = text
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = _walk(value, spec_path) or 0
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in names if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def owned_scale_of(kind: Kind, value: Json) -> Json:
    """The Scale of an object, with the owners of its replicas."""
    scale = scale_of(kind, value)
    entries = [
        _entry(entry, SCALE.api_version, _REPLICAS)
        | ({"time": entry["time"]} if "time" in entry else {})
        | ({"subresource": entry["subresource"]} if "subresource" in entry else {})
        for entry in value["metadata"].get("managedFields") or ()
        if _has(entry.get("fieldsV1", {}), _path_in(kind))
    ]
    if entries:
        scale["metadata"]["managedFields"] = entries
    return scale


def set_scale(kind: Kind, value: Json, scale: Json) -> Json:
    """The object with the replicas of a Scale, and with their owners; raises ApiError 422."""
    spec_path, _, _ = _paths(kind)
    said, metadata = scale.get("metadata") or {}, value["metadata"]
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid("Scale", "autoscaling", metadata["name"], [cause])
    parts = spec_path.strip(".").split(".")
    inner = value
    for part in parts[:-1]:
        inner = inner.setdefault(part, {})
    inner[parts[-1]] = replicas
    if said.get("resourceVersion"):
        metadata["resourceVersion"] = said["resourceVersion"]
    else:
        metadata.pop("resourceVersion", None)
    entries = _owners(kind, metadata.get("managedFields") or [], said.get("managedFields") or [])
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
    return value


def _owners(kind: Kind, before: list[Json], scaled: list[Json]) -> list[Json]:
    """The object's owners after those of its Scale have changed: who is not among them any more has lost replicas."""
    path = _path_in(kind)
    left = {_identity(entry): entry for entry in scaled if _has(entry.get("fieldsV1", {}), _REPLICAS)}
    kept = []
    for entry in before:
        fields = entry.get("fieldsV1", {})
        if not _has(fields, path) or left.pop(_identity(entry), None) is not None:
            kept.append(entry)
            continue
        rest = difference(fields, path)
        if rest:
            kept.append(entry | {"fieldsV1": rest})
    new = [
        _entry(entry, kind.api_version, path)
        | ({"subresource": entry["subresource"]} if "subresource" in entry else {})
        for entry in left.values()
    ]
    return kept + new


def _identity(entry: Json) -> tuple[Any, ...]:
    """Who appliers are does not depend on the version that they apply."""
    version = "" if entry.get("operation") == "Apply" else entry.get("apiVersion")
    return entry.get("manager"), entry.get("operation"), version, entry.get("subresource", "")


def _entry(entry: Json, api_version: str, fields: Trie) -> Json:
    made = {"manager": entry.get("manager", ""), "operation": entry["operation"], "apiVersion": api_version}
    return made | {"fieldsType": "FieldsV1", "fieldsV1": fields}


def _path_in(kind: Kind) -> Trie:
    found: Trie = {}
    for part in reversed(_paths(kind)[0].strip(".").split(".")):
        found = {f"f:{part}": found}
    return found


def _has(fields: Trie, path: Trie) -> bool:
    """Whether a set has the member at the end of a path."""
    for step, inner in path.items():
        if step not in fields:
            return False
        return _has(fields[step], inner) if inner else True
    return True
