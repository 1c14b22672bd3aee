"""What the metadata of any object has to satisfy (k8s.io/apimachinery/pkg/api/validation).

The real server checks metadata where all kinds pass and again where each kind is checked, and says every fault as
often as it finds it; clients count causes, so it is said as often here (validation.py puts the parts together).
"""

from __future__ import annotations

import difflib
import json

from quartermaster.local.apiserver.errors import (
    Cause,
    Json,
    forbidden_value,
    invalid_value,
    required,
)
from quartermaster.local.apiserver.names import (
    key_problems,
    label_problems,
    name_problems,
    path_segment_problems,
    value_problems,
)

Causes = list[Cause]

_MOST_ANNOTATIONS = 256 * 1024
_PLAIN_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")
_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def new_metadata(metadata: Json, table: str, *, namespaced: bool) -> Causes:
    """Of an object whose name follows the rules of its table; an empty `table`: any name that fits in a path."""

    def problems(name: str, *, prefix: bool = False) -> tuple[str, ...]:
        return name_problems(table, name, prefix=prefix) if table else path_segment_problems(name, prefix=prefix)

    name, prefix, namespace = (metadata.get(key) or "" for key in ("name", "generateName", "namespace"))
    causes: Causes = []
    if prefix:
        causes += [invalid_value("metadata.generateName", prefix, text) for text in problems(prefix, prefix=True)]
    if name:
        causes += [invalid_value("metadata.name", name, text) for text in problems(name)]
    else:
        causes.append(required("metadata.name", "name or generateName is required"))
    if namespaced and not namespace:
        causes.append(required("metadata.namespace"))
    elif namespaced:
        causes += [invalid_value("metadata.namespace", namespace, text) for text in label_problems(namespace)]
    causes += _common(metadata)
    finalizers = metadata.get("finalizers") or ()
    for finalizer in finalizers:
        causes += [invalid_value("metadata.finalizers", finalizer, text) for text in key_problems(finalizer)]
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid_value("metadata.finalizers", list(finalizers), why))
    return causes + _managers(metadata)


def changed_metadata(metadata: Json, old: Json) -> Causes:
    """Of an object that was there before."""
    causes: Causes = []
    if "deletionTimestamp" in old:
        new = sorted(set(metadata.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if new:
            found = "[]string{" + ", ".join(f'"{item}"' for item in new) + "}"
            why = "no new finalizers can be added if the object is being deleted, found new finalizers " + found
            causes.append(forbidden_value("metadata.finalizers", why))
    causes += [
        invalid_value(f"metadata.{key}", metadata.get(key), "field is immutable")
        for key in _IMMUTABLE
        if metadata.get(key) != old.get(key)
    ]
    return causes + _common(metadata) + _managers(metadata)


def own_finalizers(metadata: Json) -> Causes:
    """Of kinds that Kubernetes itself defines: a finalizer without a domain is one of a few."""
    why = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        invalid_value(f"metadata.finalizers[{index}]", finalizer, why)
        for index, finalizer in enumerate(metadata.get("finalizers") or ())
        if "/" not in finalizer and finalizer not in _PLAIN_FINALIZERS
    ]


def labels_causes(labels: Json, path: str) -> Causes:
    """Keys and values of labels."""
    causes: Causes = []
    for key, value in labels.items():
        causes += [invalid_value(path, key, text) for text in key_problems(key)]
        causes += [invalid_value(path, value, text) for text in value_problems(value)]
    return causes


def selector_causes(selector: Json | None, path: str) -> Causes:
    """Of a selector of labels."""
    if selector is None:
        return []
    causes = labels_causes(selector.get("matchLabels") or {}, f"{path}.matchLabels")
    for index, clause in enumerate(selector.get("matchExpressions") or ()):
        at, operator, values = (
            f"{path}.matchExpressions[{index}]",
            clause.get("operator", ""),
            clause.get("values") or (),
        )
        if operator in ("In", "NotIn"):
            if not values:
                causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator not in ("Exists", "DoesNotExist"):
            causes.append(invalid_value(f"{at}.operator", operator, "not a valid selector operator"))
        elif values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden_value(f"{at}.values", why))
        key = clause.get("key", "")
        causes += [invalid_value(f"{at}.key", key, text) for text in key_problems(key)]
        for place, value in enumerate(values):
            causes += [invalid_value(f"{at}.values[{place}]", value, text) for text in value_problems(value)]
    return causes


def _common(metadata: Json) -> Causes:
    causes = labels_causes(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        causes += [invalid_value("metadata.annotations", key, text) for text in key_problems(key.lower())]
    if sum(len(key) + len(value) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        why = f"Too long: may not be more than {_MOST_ANNOTATIONS} bytes"
        causes.append(Cause("FieldValueTooLong", why, "metadata.annotations"))
    return causes + _owners(metadata.get("ownerReferences") or [])


def _owners(owners: list[Json]) -> Causes:
    path = "metadata.ownerReferences"
    causes: Causes = []
    controller = ""
    for owner in owners:
        version = owner.get("apiVersion", "")
        if not version or version.endswith("/"):
            causes.append(invalid_value(f"{path}.apiVersion", version, "version must not be empty"))
        for name in ("kind", "name", "uid"):
            if not owner.get(name):
                causes.append(invalid_value(f"{path}.{name}", "", "must not be empty"))
        if owner.get("kind") == "Event" and version in ("v1", "events.k8s.io/v1"):
            why = f"{version}, Kind=Event is disallowed from being an owner"
            causes.append(invalid_value(path, owner, why))
        if owner.get("controller"):
            what = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                why = 'Only one reference can have Controller set to true. Found "true" in references for '
                causes.append(invalid_value(path, owners, f"{why}{controller} and {what}"))
            controller = controller or what
    return causes


def _managers(metadata: Json) -> Causes:
    causes: Causes = []
    for index, entry in enumerate(metadata.get("managedFields") or ()):
        path = f"metadata.managedFields[{index}]"
        if entry.get("operation") not in ("Apply", "Update"):
            causes.append(invalid_value(f"{path}.operation", entry.get("operation", ""), "must be `Apply` or `Update`"))
        if entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            causes.append(invalid_value(f"{path}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        if len(entry.get("manager", "")) > 128:
            causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", f"{path}.manager"))
    return causes


__all__ = ["Causes", "changed_metadata", "labels_causes", "new_metadata", "own_finalizers", "selector_causes"]


def difference(old: Json, new: Json) -> str:
    """What is different, line by line, so that nobody has to look for it."""
    before, after = (json.dumps(spec, indent=1).splitlines(keepends=True) for spec in (old, new))
    return "".join(list(difflib.unified_diff(before, after))[2:])
