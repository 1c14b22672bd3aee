"""Whether a pod's own words let it run on a node: selector, node affinity, tolerations. Room is the scheduler's matter.

Semantics: k8s.io/component-helpers/scheduling/corev1.
"""

from __future__ import annotations

from collections.abc import Iterable

from quartermaster.local.apiserver.selectors import Requirement
from quartermaster.local.controllers.objects import Json

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent", "Gt": "gt", "Lt": "lt"}


def tolerates(tolerations: Iterable[Json], taint: Json) -> bool:
    """Whether any of them covers the taint."""
    return any(covers(toleration, taint) for toleration in tolerations)


def covers(toleration: Json, taint: Json) -> bool:
    """Whether one toleration covers a taint: an empty key or effect covers all of them."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def wants(spec: Json, node: Json) -> bool:
    """Whether nodeName, nodeSelector and required node affinity of a pod's spec admit the node."""
    name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
    if spec.get("nodeName") and spec["nodeName"] != name:
        return False
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required is None:
        return True
    return any(_term(term, labels, name) for term in required.get("nodeSelectorTerms") or ())


def _term(term: Json, labels: dict[str, str], name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_matches(item, labels) for item in expressions) and all(
        _matches(item, {"metadata.name": name}) for item in fields
    )


def _matches(expression: Json, values: dict[str, str]) -> bool:
    operator = _OPERATORS.get(expression["operator"], "in")
    return Requirement(expression["key"], operator, frozenset(expression.get("values") or ())).matches(values)
