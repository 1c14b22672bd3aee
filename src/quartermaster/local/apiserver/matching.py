"""Which requests a webhook or a policy is about: rules, selectors, conditions; and the request as they see it."""

from __future__ import annotations

from typing import Any

from quartermaster.local.apiserver.admission import Operation
from quartermaster.local.apiserver.cel import CelError, evaluate
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.reviews import user_info
from quartermaster.local.apiserver.selectors import from_object, matches

_CONFIGURATION = "admissionregistration.k8s.io"


def concerns(rules: list[Json], operation: Operation) -> bool:
    """Whether any rule names the request. Configurations of admission are never subject to it."""
    kind = operation.kind
    if kind.group == _CONFIGURATION:
        return False
    resource = f"{kind.plural}/{operation.subresource}" if operation.subresource else kind.plural

    def named(items: Any, value: str) -> bool:
        return "*" in (items or ()) or value in (items or ())

    for rule in rules:
        resources = rule.get("resources") or ()
        by_name = resource in resources or ("*" in resources and not operation.subresource) or "*/*" in resources
        by_name = by_name or f"{kind.plural}/*" in resources
        scope = rule.get("scope", "*")
        in_scope = scope == "*" or (scope == "Namespaced") is kind.namespaced
        names = rule.get("resourceNames") or ()
        if (
            by_name
            and in_scope
            and named(rule.get("operations"), operation.verb)
            and named(rule.get("apiGroups"), kind.group)
            and named(rule.get("apiVersions"), kind.version)
            and (not names or operation.key[1] in names)
        ):
            return True
    return False


def selects(cluster: Cluster, operation: Operation, namespaces: Any, objects: Any) -> bool:
    """Whether the selectors of namespaces and objects let the request through."""
    namespace_selector, object_selector = from_object(namespaces) or (), from_object(objects) or ()
    if namespace_selector:
        name = operation.key[0] or (operation.key[1] if operation.kind.table == "namespaces" else "")
        if name:
            record = cluster.find("namespaces", ("", name))
            if record is None or not matches(namespace_selector, record.labels):
                return False
    if object_selector:
        states = [value for value in (operation.value, operation.old) if value]
        if not any(matches(object_selector, value.get("metadata", {}).get("labels") or {}) for value in states):
            return False
    return True


def request_of(operation: Operation, uid: str) -> Json:
    """The ``request`` of an AdmissionReview and of CEL."""
    kind = operation.kind
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    gvr = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    made: Json = {
        "uid": uid,
        "kind": gvk,
        "resource": gvr,
        "requestKind": gvk,
        "requestResource": gvr,
        "name": operation.key[1],
        "operation": operation.verb,
        "userInfo": user_info(operation.user),
        "dryRun": operation.options.dry_run,
    }
    if operation.subresource:
        made["subResource"] = made["requestSubResource"] = operation.subresource
    if operation.key[0]:
        made["namespace"] = operation.key[0]
    return made


def variables_of(cluster: Cluster, operation: Operation) -> Json:
    """What an expression may speak of."""
    return {
        "object": None if operation.verb == "DELETE" else operation.value,
        "oldObject": operation.old,
        "request": request_of(operation, ""),
        "namespaceObject": cluster.object("namespaces", ("", operation.key[0])) if operation.key[0] else None,
    }


def conditions_hold(conditions: list[Json], variables: Json) -> bool:
    """Whether all match conditions hold; raises CelError if none is false and one fails."""
    failed: CelError | None = None
    for condition in conditions:
        try:
            if evaluate(condition["expression"], variables) is not True:
                return False
        except CelError as wrong:
            failed = wrong
    if failed is not None:
        raise failed
    return True
