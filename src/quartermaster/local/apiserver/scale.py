"""The scale subresource: replicas of any kind as an autoscaling/v1 Scale."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.errors import Json, bad_request, invalid, invalid_value
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.selectors import from_object, to_text


def _walk(value: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _paths(kind: Kind) -> tuple[str, str, str]:
    if kind.custom is not None:
        scale = kind.custom.scale
        return scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")
    return ".spec.replicas", ".status.replicas", ""


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


def set_scale(kind: Kind, value: Json, scale: Json) -> Json:
    """The object with the replicas of a Scale; raises ApiError 400 or 422."""
    spec_path, _, _ = _paths(kind)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request(
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal spec.replicas into int32'
        )
    if replicas < 0:
        raise invalid(
            "Scale",
            "autoscaling",
            value["metadata"]["name"],
            [invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")],
        )
    parts = spec_path.strip(".").split(".")
    inner = value
    for part in parts[:-1]:
        inner = inner.setdefault(part, {})
    inner[parts[-1]] = replicas
    revision = (scale.get("metadata") or {}).get("resourceVersion")
    if revision:
        value["metadata"]["resourceVersion"] = revision
    else:
        value["metadata"].pop("resourceVersion", None)
    return value
